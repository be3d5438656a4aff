"""Check whether Sendmail runs with its files as they are now."""

from collections.abc import Iterator
from dataclasses import dataclass

from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.sendmail_facts import SENDMAIL_MC


@dataclass(frozen=True, slots=True)
class SendmailRunning:
    """The state of a running Sendmail beside its files.

    `changed` are files that were changed since it read them, `unmade` is true if the .mc is newer than sendmail.cf;
    with `systemd` a unit restarts it.
    """

    changed: tuple[str, ...] = ()
    unmade: bool = False
    systemd: bool = False


def sendmail_running_findings(running: SendmailRunning) -> Iterator[Finding]:
    """Find what is not yet in force."""
    if running.unmade:
        yield Finding.of(
            "sendmail-mc",
            f"{SENDMAIL_MC} was changed since sendmail.cf was made of it; run: sendmailconfig",
        )
    if running.changed:
        yield Finding.of(
            "sendmail-stale",
            f"{', '.join(running.changed)} changed since Sendmail was started, which reads it then only"
            + ("" if running.systemd else "; run: /etc/init.d/sendmail restart"),
            (Fix.restart("sendmail"),) if running.systemd else (),
        )
