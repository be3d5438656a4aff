"""`closedmail explain`."""

import os
from dataclasses import replace

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.errors import ClosedmailError
from closedmail.explain.explain import ExplainedRecipient, ExplainedSender, explain_inbound, explain_outbound
from closedmail.explain.explain_own_rows import follow_own_tables
from closedmail.inbound.sender import SenderError
from closedmail.maps.local_rows_file import read_local_rows
from closedmail.mta.own_tables import OwnTables
from closedmail.mta.postfix_settings import read_chain
from closedmail.mta.recipient_chain import RecipientChain
from closedmail.mta.recipient_guard import read_lacks_guard
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
    found: ExplainedSender | ExplainedRecipient
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = store.current()
        try:
            if recipient is not None:
                local_rows = read_local_rows(config.sendmail) if config.sendmail else None
                guarded = None if config.postfix is None else not read_lacks_guard(config)
                found = explain_outbound(snapshot, recipient, local_rows, config.command(), guarded=guarded)
                found = _follow(config, snapshot, recipient, found)
            else:
                asked = {name: os.fsencode(value) for name, value in attributes.items() if value}
                request = Request(**{name: value for name, value in asked.items() if name in Request._fields})
                found = explain_inbound(snapshot, envelope_of(request))
        except SenderError as error:
            message = f"{error}: the policy service would close the connection, and Postfix defer the mail"
            raise ClosedmailError(message) from None
        stale = snapshot.manifest.rules_digest != rules_digest(config)
        note = other_rules_note(config, snapshot.manifest)
    if as_json:
        print_json({**found.to_json(), "configuration_changed": stale})
    else:
        click.echo(found.text)
        if isinstance(found, ExplainedSender):
            facts = found.verdict.facts
            click.echo(f"verdict: {found.verdict.outcome} ({found.verdict.reason})")
            if found.verdict.match:
                click.echo(f"facts: address {_word(facts.ip)}, certificate {_word(facts.cert)}, TLS {_word(facts.tls)}")
            click.echo(f"Postfix gets: {found.action}")
        elif found.sendmail:
            click.echo(found.sendmail.text())
        click.echo(f"generation: {found.generation}")
        for line in found.notes if isinstance(found, ExplainedRecipient) else ():
            click.echo(f"Note: {line}.")
        if note:
            click.echo(f"Note: {note}.")
    if isinstance(found, ExplainedSender):
        return 1 if found.refused else 0
    return 0 if found.verdict == "routed" else 1


def _follow(config: Config, snapshot: Snapshot, recipient: str, found: ExplainedRecipient) -> ExplainedRecipient:
    """Follow the recipient through Postfix's own tables; where Postfix can't be asked, say so."""
    if config.postfix is None:
        return found
    directory = config.postfix.config_directory
    try:
        chain = RecipientChain(read_chain(directory, config.postfix.map_dir), OwnTables(directory))
    except ProgramError as error:
        return replace(found, notes=(f"your own tables were not asked: {error}",))
    return follow_own_tables(found, snapshot, recipient, chain, config.command())


def _word(fact: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[fact]
