"""`closedmail doctor`: facts of the MTA and of what runs, judged theme by theme."""

from collections.abc import Iterator

from closedmail.core.model import Config, PostfixMaps
from closedmail.core.partner_keys import configured_keys
from closedmail.core.rule import rules_of
from closedmail.doctor.checks.policy_check import check_findings
from closedmail.doctor.checks.postfix_certificates import certificate_findings
from closedmail.doctor.checks.postfix_clients import client_findings
from closedmail.doctor.checks.postfix_domains import domain_findings
from closedmail.doctor.checks.postfix_senders import sender_findings
from closedmail.doctor.checks.postfix_tables import map_findings
from closedmail.doctor.checks.postfix_transports import missing_findings, transport_findings, version_findings
from closedmail.doctor.checks.running import Running, policyd_findings, state_findings
from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_machine import PostfixMachine
from closedmail.doctor.running_state import look_at_running, read_store
from closedmail.doctor.sendmail_inspection import BEFORE_SYNC, sendmail_findings
from closedmail.errors import ClosedmailError
from closedmail.mta.postfix_facts import Facts
from closedmail.mta.postfix_inspection import inspect_postfix
from closedmail.store.snapshot import Snapshot

_THEMES = (
    check_findings,
    certificate_findings,
    map_findings,
    transport_findings,
    domain_findings,
    sender_findings,
    client_findings,
)


def find_findings(config: Config, now: int, sendmail_cf: str = "") -> list[Finding]:
    """All findings, in the order in which they are best mended. `now` is Unix time, `sendmail_cf` a sendmail.cf to
    judge in place of the one that is installed. What is wrong raises nothing."""
    store, snapshot, trouble = read_store(config)
    with store:
        running = look_at_running(config, now, snapshot, trouble)
        state = list(state_findings(config, running))
        sendmail = list(sendmail_findings(config, snapshot, sendmail_cf)) if config.sendmail else []
        first = [item for item in sendmail if item.id in BEFORE_SYNC]
        sendmail = [item for item in sendmail if item not in first]
        if config.sendmail and not config.postfix:
            return [*first, *state, *sendmail]
        try:
            return [*first, *_postfix_findings(config, snapshot, running, state), *sendmail]
        except ClosedmailError as error:
            return [Finding("postfix", "error", str(error)), *first, *state, *sendmail]


def _postfix_findings(
    config: Config, snapshot: Snapshot | None, running: Running, state: list[Finding]
) -> Iterator[Finding]:
    facts, machine = gather_facts(config, snapshot)
    yield from version_findings(facts)
    yield from missing_findings(facts)  # sync publishes nothing before
    yield from state
    yield from policyd_findings(facts, running)
    for theme in _THEMES:
        yield from theme(facts)
    if machine.not_asked:
        yield Finding(
            "not-asked", "warning", f"this user may not ask policyd on {machine.not_asked[0]}: run doctor as root"
        )


def gather_facts(config: Config, snapshot: Snapshot | None) -> tuple[Facts, PostfixMachine]:
    """What the themes judge by. Raises ClosedmailError where Postfix can't be asked."""
    directory = (config.postfix or PostfixMaps()).config_directory
    postfix = inspect_postfix(directory)
    machine = PostfixMachine(directory, postfix.main.get("mail_owner", "postfix"))
    keys = configured_keys(config)
    if snapshot:
        keys.update(key for key, _ in snapshot.records())
    return Facts(config, tuple(rules_of(config)), postfix, machine, frozenset(keys)), machine
