"""`closedmail doctor`: facts of the MTA and of what runs, judged theme by theme."""

from closedmail.core.model import Config, PostfixMaps
from closedmail.core.partner_keys import configured_keys
from closedmail.core.rule import rules_of
from closedmail.doctor.checks.listening import listening_findings
from closedmail.doctor.checks.policy_check import check_findings
from closedmail.doctor.checks.policy_endpoint import policyd_findings
from closedmail.doctor.checks.postfix_certificates import certificate_findings
from closedmail.doctor.checks.postfix_clients import client_findings
from closedmail.doctor.checks.postfix_domains import domain_findings
from closedmail.doctor.checks.postfix_filters import filter_findings
from closedmail.doctor.checks.postfix_own_rows import own_row_findings
from closedmail.doctor.checks.postfix_senders import sender_findings
from closedmail.doctor.checks.postfix_services import service_findings
from closedmail.doctor.checks.postfix_tables import map_findings
from closedmail.doctor.checks.postfix_transports import transport_findings, version_findings
from closedmail.doctor.checks.running import state_findings
from closedmail.doctor.finding import Finding
from closedmail.doctor.listening_state import look_at_listening
from closedmail.doctor.postfix_facts import PostfixFacts
from closedmail.doctor.postfix_machine import PostfixMachine
from closedmail.doctor.running_state import look_at_running, read_store, start_policyd
from closedmail.doctor.sendmail_inspection import sendmail_findings
from closedmail.errors import ClosedmailError
from closedmail.maps.own_rows import OwnRows
from closedmail.mta.lookup_chain import lookup_chain
from closedmail.mta.own_tables import OwnTables, find_own_rows
from closedmail.mta.postconf import inspect_postfix
from closedmail.mta.postfix_config import PostfixConfig
from closedmail.store.snapshot import Snapshot

_THEMES = (
    version_findings,
    service_findings,
    check_findings,
    certificate_findings,
    map_findings,
    own_row_findings,
    transport_findings,
    domain_findings,
    sender_findings,
    client_findings,
    filter_findings,
)


def find_findings(config: Config, now: int, sendmail_cf: str = "") -> list[Finding]:
    """Find all that is wrong, in the order in which it is best fixed. `now` is Unix time, `sendmail_cf` a sendmail.cf
    to judge in place of the one that is installed. What is wrong raises nothing."""
    store, snapshot, trouble = read_store(config)
    with store:
        found = list(state_findings(config, look_at_running(config, now, snapshot, trouble)))
        found += listening_findings(config, look_at_listening(config))
        if config.postfix or not config.sendmail:
            try:
                found += _postfix_findings(config, snapshot)
            except ClosedmailError as error:
                found.append(Finding.of("postfix", str(error)))
        if config.sendmail:
            found += sendmail_findings(config, snapshot, sendmail_cf)
    return sorted(found, key=lambda finding: finding.phase)


def _postfix_findings(config: Config, snapshot: Snapshot | None) -> list[Finding]:
    facts, machine = gather_facts(config, snapshot)
    found = [*policyd_findings(facts, start_policyd()), *(item for theme in _THEMES for item in theme(facts))]
    if machine.not_asked:
        text = f"this user may not ask policyd on {machine.not_asked[0]}: run doctor as root"
        found.append(Finding.of("not-asked", text))
    return found


def gather_facts(config: Config, snapshot: Snapshot | None) -> tuple[PostfixFacts, PostfixMachine]:
    """Gather what the themes judge by. Raises ClosedmailError where postconf fails."""
    directory = (config.postfix or PostfixMaps()).config_directory
    postfix = inspect_postfix(directory)
    machine = PostfixMachine(directory, postfix.main.get("mail_owner", "postfix"), config.gateway.state_dir)
    keys = configured_keys(config)
    if snapshot:
        keys.update(key for key, _ in snapshot.records())
    own_rows = _own_rows(config, postfix, snapshot)
    return PostfixFacts(config, tuple(rules_of(config)), postfix, machine, frozenset(keys), own_rows), machine


def _own_rows(config: Config, postfix: PostfixConfig, snapshot: Snapshot | None) -> OwnRows:
    """Find the rows of the administrator's own tables in front of those in force."""
    if snapshot is None or config.postfix is None:
        return OwnRows()
    options = {item.key: {name: item.get(name) for name in item.options} for item in postfix.services}
    chain = lookup_chain(postfix.main, options, config.postfix.map_dir)
    return find_own_rows(chain, OwnTables(postfix.directory), snapshot)
