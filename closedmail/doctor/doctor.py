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
from closedmail.doctor.chmod_fixes import safe_fixes
from closedmail.doctor.finding import Finding
from closedmail.doctor.listening_state import look_at_listening
from closedmail.doctor.postfix_facts import PostfixFacts
from closedmail.doctor.postfix_machine import PostfixMachine
from closedmail.doctor.running_state import look_at_running, read_rows_in_front, read_state, start_policyd
from closedmail.doctor.sendmail_inspection import sendmail_findings
from closedmail.errors import ClosedmailError
from closedmail.maps.own_rows import OwnRows
from closedmail.mta.lookup_chain import lookup_chain
from closedmail.mta.postconf import inspect_postfix
from closedmail.mta.postfix_config import PostfixConfig

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
    state = read_state(config, now)
    found = list(state_findings(config, look_at_running(state)))
    found += listening_findings(config, look_at_listening(config))
    if config.postfix or not config.sendmail:
        try:
            found += _postfix_findings(config, state.keys)
        except ClosedmailError as error:
            found.append(Finding.of("postfix", str(error)))
    if config.sendmail:
        found += sendmail_findings(config, state.keys, sendmail_cf)
    return sorted(safe_fixes(config, found), key=lambda finding: finding.phase)


def _postfix_findings(config: Config, in_force: frozenset[str]) -> list[Finding]:
    facts, machine = gather_facts(config, in_force)
    found = [*policyd_findings(facts, start_policyd()), *(item for theme in _THEMES for item in theme(facts))]
    if machine.not_asked:
        text = f"this user may not ask policyd on {machine.not_asked[0]}: run doctor as root"
        found.append(Finding.of("not-asked", text))
    return found


def gather_facts(config: Config, in_force: frozenset[str]) -> tuple[PostfixFacts, PostfixMachine]:
    """Gather what the themes judge by; `in_force` are the list's keys.

    Raises ClosedmailError where Postfix can't be asked.
    """
    directory = (config.postfix or PostfixMaps()).config_directory
    postfix = inspect_postfix(directory)
    machine = PostfixMachine(directory, postfix.main.get("mail_owner", "postfix"), config.gateway.state_dir)
    keys = in_force | configured_keys(config)
    own_rows = _own_rows(config, postfix) if in_force else OwnRows()
    return PostfixFacts(config, tuple(rules_of(config)), postfix, machine, keys, own_rows), machine


def _own_rows(config: Config, postfix: PostfixConfig) -> OwnRows:
    """Find the rows of the administrator's own tables in front of those in force."""
    if config.postfix is None:
        return OwnRows()
    options = {item.key: {name: item.get(name) for name in item.options} for item in postfix.services}
    chain = lookup_chain(postfix.main, options, config.postfix.map_dir)
    return read_rows_in_front(config, chain, postfix.directory)
