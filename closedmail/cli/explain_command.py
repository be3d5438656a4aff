"""`closedmail explain`."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.config import load
from closedmail.core.model import Config, PostfixMaps
from closedmail.errors import ClosedmailError
from closedmail.explain.explain import ExplainedRecipient, ExplainedSender, explain_inbound, explain_outbound
from closedmail.explain.explain_own_rows import follow_own_tables
from closedmail.inbound.sender import SenderError
from closedmail.maps.local_rows_file import read_local_rows
from closedmail.mta.asked_tables import AskedTables, answers_about
from closedmail.mta.lookup_chain import LookupChain
from closedmail.mta.postfix_settings import read_chain
from closedmail.mta.recipient_chain import RecipientChain
from closedmail.mta.recipient_guard import read_lacks_guard
from closedmail.owner import Ask, ask_as_owner
from closedmail.policyd.policy_protocol import Request, envelope_of
from closedmail.programs import ProgramError
from closedmail.store.environment import store_path
from closedmail.store.snapshot import Snapshot, StoreReader
from closedmail.sync.rules import other_rules_note, rules_digest


@click.command("explain")
@click.option("--sender", metavar="A", help='The envelope sender; "" is a bounce.')
@click.option("--client-address", metavar="IP", help="The client's address.")
@click.option("--helo-name", metavar="NAME", help="What the client calls itself; no rule depends on it.")
@click.option("--sasl-username", metavar="NAME", help="The login, if there was one.")
@click.option("--ccert-subject", metavar="CN", help="The certificate's common name, as Postfix sends it.")
@click.option("--ccert-issuer", metavar="CN", help="The issuer's common name, as Postfix sends it.")
@click.option("--ccert-fingerprint", metavar="HEX", help="The certificate's fingerprint.")
@click.option("--ccert-pubkey-fingerprint", metavar="HEX", help="The public key's fingerprint.")
@click.option("--encryption-protocol", metavar="NAME", help="For example TLSv1.3; none is a plain connection.")
@click.option("--recipient", metavar="A", help="Where a mail to this recipient, or domain, would go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, /, recipient: str | None, as_json: bool, **attributes: str | None) -> int:
    """Show why a mail is accepted or refused, or where it goes.

    Inbound with --sender and --client-address, outbound with --recipient.
    """
    inbound = attributes["sender"] is not None
    if inbound == (recipient is not None):
        raise click.UsageError("give either --sender and --client-address, or --recipient")
    if inbound and attributes["client_address"] is None:
        raise click.UsageError("--sender needs --client-address too")
    if not inbound and any(value is not None for value in attributes.values()):
        raise click.UsageError("--recipient stands alone")
    config = load(settings.config_path)
    chain, trouble = LookupChain(), ""
    if config.postfix and recipient is not None:
        try:
            chain = read_chain(config.postfix.config_directory, config.postfix.map_dir)
        except ProgramError as error:
            trouble = f"your own tables were not asked: {error}"

    def explain(ask: Ask) -> dict[str, Any]:
        if recipient is None:
            return _explain_sender(config, attributes)
        return _explain_recipient(config, recipient, RecipientChain(chain, AskedTables(ask)), trouble)

    directory = (config.postfix or PostfixMaps()).config_directory
    found = ask_as_owner(Path(config.gateway.state_dir), explain, answers_about(chain, directory))
    if as_json:
        print_json(found["json"])
    else:
        for line in found["lines"]:
            click.echo(line)
    return 1 if found["failed"] else 0


def _explain_sender(config: Config, attributes: Mapping[str, str | None]) -> dict[str, Any]:
    asked = {name: os.fsencode(value) for name, value in attributes.items() if value}
    request = Request(**{name: value for name, value in asked.items() if name in Request._fields})
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = store.current()
        try:
            return _answer(config, snapshot, explain_inbound(snapshot, envelope_of(request)))
        except SenderError as error:
            message = f"{error}: the policy service would close the connection, and Postfix defer the mail"
            raise ClosedmailError(message) from None


def _explain_recipient(config: Config, recipient: str, chain: RecipientChain, trouble: str) -> dict[str, Any]:
    """Follow the recipient through Postfix's own tables, too; where Postfix can't be asked, `trouble` says so."""
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = store.current()
        local_rows = read_local_rows(config.sendmail) if config.sendmail else None
        guarded = None if config.postfix is None else not read_lacks_guard(config)
        found = explain_outbound(snapshot, recipient, local_rows, config.command(), guarded=guarded)
        if trouble:
            found = replace(found, notes=(trouble,))
        elif config.postfix:
            found = follow_own_tables(found, snapshot, recipient, chain, config.command())
        return _answer(config, snapshot, found)


def _answer(config: Config, snapshot: Snapshot, found: ExplainedSender | ExplainedRecipient) -> dict[str, Any]:
    """Give the answer for programs and for people, and whether it is no."""
    stale = snapshot.manifest.rules_digest != rules_digest(config)
    failed = found.refused if isinstance(found, ExplainedSender) else found.verdict != "routed"
    return {
        "json": {**found.to_json(), "configuration_changed": stale},
        "lines": list(_lines(found, other_rules_note(config, snapshot.manifest))),
        "failed": failed,
    }


def _lines(found: ExplainedSender | ExplainedRecipient, note: str) -> Iterator[str]:
    yield found.text
    if isinstance(found, ExplainedSender):
        facts = found.verdict.facts
        yield f"verdict: {found.verdict.outcome} ({found.verdict.reason})"
        if found.verdict.match:
            yield f"facts: address {_word(facts.ip)}, certificate {_word(facts.cert)}, TLS {_word(facts.tls)}"
        yield f"Postfix gets: {found.action}"
    elif found.sendmail:
        yield found.sendmail.text()
    yield f"generation: {found.generation}"
    for line in found.notes if isinstance(found, ExplainedRecipient) else ():
        yield f"Note: {line}."
    if note:
        yield f"Note: {note}."


def _word(fact: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[fact]
