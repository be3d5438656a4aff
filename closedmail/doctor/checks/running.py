"""Check the running state: the timer, and the age of lists and keys."""

from collections.abc import Iterator
from dataclasses import dataclass

from closedmail.config.readable import Unreadable
from closedmail.core.model import Config
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.finding_ids import Severity
from closedmail.doctor.systemd_unit import UnitState
from closedmail.status.problems import Problem, ProblemKind

TIMER = "closedmail-sync.timer"
_HIDDEN = ("/etc/closedmail/private/", "/etc/ssl/private/")  # InaccessiblePaths= of the daemons' units
# Problems that another fetch can fix.
_TO_FETCH: tuple[ProblemKind, ...] = ("never-fetched", "fetch-clock", "fetch-age")


@dataclass(frozen=True, slots=True)
class Running:
    """The running state. `generation` is 0 for none; `trouble` is then the reason.

    `unreadable` keeps the user who runs closedmail from its configuration, `unable` from Python's own files.
    `timer` is the state of systemd's unit, `cron` is true if a crontab runs sync. `ages` and `keys` are the problems
    that status finds with lists and with keys.
    """

    generation: int = 0
    trouble: str = ""
    unreadable: Unreadable | None = None
    unable: str = ""
    timer: UnitState = ""
    cron: bool = False
    ages: tuple[Problem, ...] = ()
    keys: tuple[Problem, ...] = ()


def state_findings(config: Config, running: Running) -> Iterator[Finding]:
    """Find what is wrong whatever the MTA is."""
    sync = (Fix.closedmail(config, "sync"),)
    if running.unable:  # then nothing is known of what is in force
        yield Finding.of("service-user", running.unable)
    elif running.unreadable:
        yield _unreadable(running.unreadable)
    if not running.generation and not running.unable:
        yield Finding.of("no-generation", running.trouble, sync)
    if running.timer in ("on", "off"):  # systemd runs sync, and the daemons by their units
        yield from _key_findings(config)
    for problem in running.ages:
        yield _of_status("list-age", problem, sync if problem.kind in _TO_FETCH else ())
    for problem in running.keys:
        yield _of_status("signing-key", problem)
    if running.cron or not any(network.source for network in config.networks):
        return
    if running.timer == "off":
        yield Finding.of("timer", f"{TIMER} is not active: no list is fetched by itself", (Fix.start(TIMER),))
    elif running.timer == "missing":
        yield Finding.of(
            "timer",
            f"there is no {TIMER}, nor a crontab that runs {config.command('sync')}: no list is fetched by itself; "
            "install the timer (postfix-examples/systemd)",
        )


def _key_findings(config: Config) -> Iterator[Finding]:
    """Find keys for https that the daemons' units let them read."""
    for network in config.networks:
        if network.source is None:
            continue
        key, path = "client_key", network.source.client_key
        if not path:
            key, path = "client_cert", network.source.client_cert
        if path and not path.startswith(_HIDDEN):
            yield Finding.of(
                "client-key",
                f"network.{network.name}.{key} is {path}, which policyd and the milter can read, too: move it to "
                f"{_HIDDEN[0]}, which their units don't see (chown root:closedmail, chmod 0640)",
            )


def _unreadable(found: Unreadable) -> Finding:
    fixes = [Fix.chgrp(found.group, found.path)] if found.group else []
    fixes += [Fix.chmod(found.mode, found.path)] if found.mode else []
    return Finding.of("service-user", found.sentence + ("" if fixes else f"; {found.advice}"), tuple(fixes))


def _of_status(name: str, problem: Problem, fixes: tuple[Fix, ...] = ()) -> Finding:
    severity: Severity = "error" if problem.severity == "critical" else "warning"
    return Finding.of(name, str(problem), fixes, severity=severity)
