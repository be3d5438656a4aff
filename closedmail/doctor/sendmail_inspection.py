"""Inspect sendmail.cf and the machine for `closedmail doctor`, and judge them theme by theme."""

import os
from collections.abc import Iterator
from pathlib import Path

from closedmail.core.model import Config
from closedmail.core.partner_keys import PartnerKeys, configured_keys
from closedmail.core.rule import rules_of
from closedmail.doctor.checks.sendmail_certificates import sendmail_certificate_findings
from closedmail.doctor.checks.sendmail_clients import sendmail_client_findings
from closedmail.doctor.checks.sendmail_domains import sendmail_domain_findings
from closedmail.doctor.checks.sendmail_milter import milter_findings
from closedmail.doctor.checks.sendmail_routes import sendmail_route_findings
from closedmail.doctor.checks.sendmail_running import SendmailRunning, sendmail_running_findings
from closedmail.doctor.checks.sendmail_tables import sendmail_map_findings
from closedmail.doctor.finding import Finding
from closedmail.doctor.running_state import unit_state
from closedmail.doctor.sendmail_facts import SENDMAIL_MC, SendmailFacts, blamed_by
from closedmail.doctor.sendmail_machine import SendmailMachine
from closedmail.doctor.systemd_unit import start_fix
from closedmail.errors import ConfigError
from closedmail.maps.local_rows_file import LocalRows, read_local_rows
from closedmail.mta.sendmail_cf import DEFAULT_CF, SendmailCf, parse_cf

_UNIT = "closedmail-milter.service"


def sendmail_findings(config: Config, in_force: frozenset[str], cf_path: str = "") -> Iterator[Finding]:
    """Find all that is wrong with Sendmail.

    `in_force` are the list's keys, `cf_path` is a sendmail.cf to judge in place of the installed one; then
    whether it is in force is not checked. Faults are findings and raise nothing.
    """
    path = Path(cf_path or DEFAULT_CF)
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        # Beside Postfix, the maps may be made for a Sendmail on another machine.
        if cf_path or not config.postfix:
            yield Finding.of("sendmail", f"{path} is not there: is Sendmail installed? See postfix-examples/sendmail")
        return
    except OSError as error:
        yield Finding.of("sendmail", f"{path}: {error.strerror}; run doctor as root")
        return
    facts, machine = _gather_facts(config, in_force, parse_cf(text))
    unit = unit_state(_UNIT)
    yield from sendmail_map_findings(facts)
    yield from sendmail_route_findings(facts)
    yield from sendmail_certificate_findings(facts)
    yield from milter_findings(facts, start_fix(_UNIT, unit, _UNIT))
    yield from sendmail_domain_findings(facts)
    yield from sendmail_client_findings(facts)
    if not cf_path:
        yield from sendmail_running_findings(_running(path, facts, systemd=unit != ""))
    if machine.not_asked:
        yield Finding.of("not-asked", f"this user may not ask the milter on {machine.not_asked[0]}: run doctor as root")


def _gather_facts(config: Config, in_force: frozenset[str], cf: SendmailCf) -> tuple[SendmailFacts, SendmailMachine]:
    keys = in_force | configured_keys(config)
    machine = SendmailMachine(config.gateway.state_dir, sticky="truststickybit" in blamed_by(cf))
    try:
        own = read_local_rows(config.sendmail)
    except ConfigError:
        own = LocalRows()  # a finding of its own, or a line that sync names
    partners = PartnerKeys(config, keys)
    return SendmailFacts(config, tuple(rules_of(config)), cf, machine, partners, own.access), machine


def _running(path: Path, facts: SendmailFacts, *, systemd: bool) -> SendmailRunning:
    """Compare files with the PID file: Sendmail writes it when it starts, and when it reads its files (SIGHUP)."""
    made, mc = _changed_at(path), _changed_at(Path(SENDMAIL_MC))
    started = _started_at(Path(facts.cf.option("PidFile") or "/nonexistent"))
    changed = []
    if started:
        files = [file.path for name in ("w", "R", "VirtHost") for file in facts.cf.files_of_class(name)]
        changed = [file for file in (str(path), *dict.fromkeys(files)) if _changed_at(Path(file)) > started]
    return SendmailRunning(tuple(changed), bool(made) and mc > made, systemd)


def _started_at(pid_file: Path) -> float:
    """Return when a running Sendmail wrote this file, 0 where none runs."""
    try:
        with pid_file.open(encoding="ascii", errors="replace") as lines:
            os.kill(int(lines.readline()), 0)
    except PermissionError:
        pass  # it runs, as another user
    except (OSError, ValueError, OverflowError):
        return 0
    return _changed_at(pid_file)


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0
