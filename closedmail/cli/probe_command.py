"""`closedmail probe`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json, progress
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.errors import ClosedmailError, ConfigError, Refused
from closedmail.maps.own_rows import OwnRows
from closedmail.mta.asked_tables import AskedTables, answers_about
from closedmail.mta.client_settings import ClientSettings
from closedmail.mta.lookup_chain import LookupChain
from closedmail.mta.own_tables import find_own_rows
from closedmail.mta.postfix_client import PostfixClients
from closedmail.mta.postfix_settings import read_chain
from closedmail.mta.recipient_chain import RecipientChain
from closedmail.mta.sendmail_cf import DEFAULT_CF
from closedmail.mta.sendmail_client import sendmail_settings
from closedmail.owner import Ask, ask_as_owner, call_as_owner
from closedmail.probe.own_targets import own_targets
from closedmail.probe.probe import Prober
from closedmail.probe.probe_file import keep_probe
from closedmail.probe.probe_result import HostResult, paste_lines
from closedmail.probe.probe_targets import ProbeTarget, postfix_targets, sendmail_targets
from closedmail.routes.tls_policy import Policy
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.words import counted, iso


@click.command("probe")
@click.argument("domains", metavar="[DOMAIN]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, domains: tuple[str, ...], as_json: bool) -> int:
    """Connect to route hosts as the mail server would; send no mail.

    Without arguments, to the hosts of all domains. STARTTLS and certificate must be as the TLS policy in force demands:
    exit 1 unless all hosts are ok.
    """
    config = load(settings.config_path)
    state_dir = Path(config.gateway.state_dir)
    settings_of, chain = _client_settings(config)
    directory = config.postfix.config_directory if config.postfix else ""
    found = ask_as_owner(state_dir, lambda ask: _choose(config, domains, chain, ask), answers_about(chain, directory))
    for sentence in found["notes"]:
        click.echo(f"closedmail: note: {sentence}", err=True)
    targets = {
        ProbeTarget(nexthop, service, row, Policy.parse(policy)): number
        for nexthop, service, row, policy, number in found["targets"]
    }
    prober = Prober(settings_of, found["digest"], config_directory=directory)
    with progress(len(targets), verbose=settings.verbose) as step:
        results = prober.probe(targets, step)
    try:
        probed_at = "" if domains else iso(int(time.time()))
        call_as_owner(state_dir, lambda: keep_probe(state_dir, results, probed_at))
    except OSError as error:
        click.echo(
            f"closedmail: note: the result is not kept for the report: {error.filename}: {error.strerror}",
            err=True,
        )
    if as_json:
        print_json({"hosts": [result.to_json() for result in results]})
    else:
        _print(results)
    return 0 if all(result.ok for result in results) else 1


def _choose(config: Config, domains: tuple[str, ...], chain: LookupChain, ask: Ask) -> dict[str, Any]:
    """Choose the targets, those of Postfix where both MTAs are configured, and find Postfix's fingerprint digest."""
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot, notes = store.current(), list[str]()
        if config.postfix:
            tables = AskedTables(ask)
            found = find_own_rows(chain, tables, snapshot) if chain.transport.ours else OwnRows()
            own = own_targets(snapshot, RecipientChain(chain, tables), found, domains if found else ())
            targets, notes = postfix_targets(snapshot, domains, own), list(found.sentences())
        else:
            targets = sendmail_targets(snapshot, domains)
        rows = [
            (target.nexthop, target.service, target.row, str(target.policy), number)
            for target, number in targets.items()
        ]
        return {"targets": rows, "digest": snapshot.manifest.fingerprint_digest, "notes": notes}


def _client_settings(config: Config) -> tuple[Callable[[str], ClientSettings], LookupChain]:
    """Read the settings of the MTA's client, as root where this is root: they may name keys that only root reads."""
    if config.postfix:
        directory = config.postfix.config_directory
        try:
            return PostfixClients(directory).settings, read_chain(directory, config.postfix.map_dir)
        except Refused as refusal:
            raise ClosedmailError(refusal.reason) from None
    if not config.sendmail:
        raise ConfigError("", f"{config.path}: neither [postfix] nor [sendmail] is set; probe needs one of them")
    try:
        client = sendmail_settings()
    except OSError as error:
        raise ClosedmailError(f"{DEFAULT_CF}: {error.strerror}; probe needs Sendmail's settings") from None
    return lambda _: client, LookupChain()


def _print(results: list[HostResult]) -> None:
    for result in results:
        for line in result.lines():
            click.echo(line)
    pins = list(paste_lines(results))
    if pins:
        click.echo(
            "\nWhere a partner's gateway shows the same certificate when it sends, for inbound in its [partner] table:"
        )
        for line in pins:
            click.echo(line)
    bad = sum(not result.ok for result in results)
    click.echo(f"\n{counted(len(results), 'host')}, {bad or 'none'} not ok." if results else "No domain has a route.")
