"""What has to run, and how old it is: the timer, policyd, the list, the keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from closedmail.core.model import Config
from closedmail.doctor.checks.policy_check import unreachable
from closedmail.doctor.checks.policy_endpoint import chrooted, endpoints, queue_directory
from closedmail.doctor.finding import Finding, Severity
from closedmail.mta.postfix_facts import Facts

TIMER = "closedmail-sync.timer"
# "" without systemd; "missing" where there is no such unit.
UnitState = Literal["", "missing", "off", "on"]


@dataclass(frozen=True, slots=True)
class Running:
    """The running state. `generation` is 0 for none, then `trouble` says why. `timer` and `policyd` are of systemd's
    units (`policyd_unit` is the one to enable), `cron` says whether a crontab runs sync. `ages` and `keys` are
    sentences about lists and keys, each with its severity."""

    generation: int = 0
    trouble: str = ""
    timer: UnitState = ""
    cron: bool = False
    policyd: UnitState = ""
    policyd_unit: str = ""
    ages: tuple[tuple[Severity, str], ...] = ()
    keys: tuple[tuple[Severity, str], ...] = ()


def state_findings(config: Config, running: Running) -> Iterator[Finding]:
    """What concerns every MTA."""
    sync = (config.command("sync"),)
    if not running.generation:
        yield Finding("no-generation", "error", running.trouble, sync)
    for severity, sentence in running.ages:
        yield Finding("list-age", severity, sentence, sync if "fetch" in sentence else ())
    for severity, sentence in running.keys:
        yield Finding("signing-key", severity, sentence)
    if running.cron or not any(network.source for network in config.networks):
        return
    if running.timer == "off":
        yield Finding(
            "timer",
            "error",
            f"{TIMER} is not active: no list is fetched by itself",
            (f"systemctl enable --now {TIMER}",),
        )
    elif running.timer == "missing":
        yield Finding(
            "timer",
            "error",
            f"there is no {TIMER}, nor a crontab that runs closedmail sync: no list is fetched by itself; install the "
            "timer (postfix-examples/systemd)",
        )


def policyd_findings(facts: Facts, running: Running) -> Iterator[Finding]:
    """Whether policyd answers where this Postfix can ask."""
    answering = [item for item in endpoints(facts) if facts.machine.answers(item.where)]
    queue = queue_directory(facts)
    if not answering:
        names = " or ".join(dict.fromkeys(facts.config.policyd.listen))
        text = f"policyd does not answer on {names}: Postfix tells clients to come back later"
        fix: tuple[str, ...] = ()
        if running.policyd == "off":
            fix = (f"systemctl enable --now {running.policyd_unit}",)
        elif running.policyd == "on":
            fix = ("systemctl restart closedmail-policyd.service",)
        else:
            text += "; start closedmail policyd"
        yield Finding("policyd", "error", text, fix)
    elif chrooted(facts) and not any(item.where.startswith(("inet:", f"unix:{queue}/")) for item in answering):
        yield Finding(
            "socket-chroot", "error", f"policyd answers on {answering[0].where} alone, but {unreachable(facts)}"
        )
