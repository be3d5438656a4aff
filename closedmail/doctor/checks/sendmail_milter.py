"""The milter in sendmail.cf: there for every listener, with mail put off while it does not answer, and answering.

Which macros sendmail.cf sends at MAIL is not asked for: the milter names those that it needs when it is connected.
"""

from collections.abc import Iterator

from closedmail.core.where import parse_where
from closedmail.doctor.checks.running import UnitState
from closedmail.doctor.checks.sendmail_tables import closed_folder
from closedmail.doctor.finding import Finding
from closedmail.mta.sendmail_cf import MailFilter
from closedmail.mta.sendmail_facts import SENDMAIL_MC, SendmailFacts, rebuild

UNIT = "closedmail-milter.service"
NAME = "closedmail"
# libmilter's words for a socket.
_TIMES = "T=C:1m;S:30s;R:30s;E:2m"


def milter_findings(facts: SendmailFacts, unit: UnitState) -> Iterator[Finding]:
    """All about it; nothing where no rule asks anything of mail. `unit` is what systemd says of its unit."""
    if not facts.active:
        return
    ours = _ours(facts)
    if not ours:
        yield Finding(
            "milter-missing",
            "error",
            "sendmail.cf does not ask closedmail milter: mail in a partner's name passes unchecked; "
            + rebuild(_line(facts)),
        )
        yield from _answer_findings(facts, facts.config.milter.listen[0], unit)
        return
    for item in ours:
        yield from _judge(facts, item, unit)
    yield from _listener_findings(facts, {item.name for item in ours})


def _ours(facts: SendmailFacts) -> list[MailFilter]:
    listen = facts.config.milter.listen
    return [item for item in facts.cf.filters.values() if item.where in listen or item.name == NAME]


def _line(facts: SendmailFacts) -> str:
    """The line of the .mc that has the milter asked."""
    socket = parse_where(facts.config.milter.listen[0]).libmilter()
    return f"INPUT_MAIL_FILTER(`{NAME}', `S={socket}, F=T, {_TIMES}')dnl"


def _judge(facts: SendmailFacts, item: MailFilter, unit: UnitState) -> Iterator[Finding]:
    replace = f"replace its line in {SENDMAIL_MC} by {_line(facts)} and run: sendmailconfig"
    if item.flag not in ("T", "R", "4"):
        yield Finding(
            "milter-flags",
            "error",
            f"the mail filter {item.name} in sendmail.cf has no F=T: while the milter does not answer, mail passes "
            f"unchecked; {replace}",
        )
    elif item.flag == "R":
        yield Finding(
            "milter-flags",
            "warning",
            f"the mail filter {item.name} in sendmail.cf has F=R: while the milter does not answer, all mail is "
            f"refused for good; {replace}",
        )
    if item.where not in facts.config.milter.listen:
        yield Finding(
            "milter-socket",
            "error",
            f"the mail filter {item.name} in sendmail.cf asks at {item.where or 'no known socket'}, but listen of "
            f"[milter] has {', '.join(facts.config.milter.listen)}; {replace}",
        )
        return
    yield from _answer_findings(facts, item.where, unit)


def _answer_findings(facts: SendmailFacts, where: str, unit: UnitState) -> Iterator[Finding]:
    path = where.removeprefix("unix:")
    state = facts.machine.path(path) if path != where else None
    if state and state.writable_at:
        yield Finding(
            "milter-folder",
            "error",
            f"{state.writable_at} can be written by its group or by others: Sendmail calls the milter's socket below "
            "it unsafe, and does not start",
            (closed_folder(facts, state.writable_at),),
        )
    if facts.machine.answers(where):
        return
    text, fix = f"closedmail milter does not answer on {where}: Sendmail puts mail off, or lets it pass", ""
    if unit == "off":
        fix = f"systemctl enable --now {UNIT}"
    elif unit == "on":
        fix = f"systemctl restart {UNIT}"
    else:
        text += "; start closedmail milter"
    yield Finding("milter", "error", text, (fix,) if fix else ())


def _listener_findings(facts: SendmailFacts, names: set[str]) -> Iterator[Finding]:
    """Listeners that don't ask it: InputMailFilters counts, unless a listener has a list of its own."""
    for daemon in facts.cf.daemons:
        own = daemon.get("I")
        asked = facts.cf.option("InputMailFilters") if own is None else own
        if names & set(asked.replace(";", ",").replace(" ", "").split(",")):
            continue
        if own is not None and (_on_loopback(daemon) or _for_users(facts, daemon)):
            continue
        if own is None:
            where, mend = "InputMailFilters in sendmail.cf", rebuild(_line(facts))
        else:
            where = f"InputMailFilters of the listener {daemon.get('N', daemon.get('P', 'MTA'))} in sendmail.cf"
            mend = f"add {NAME} to it in {SENDMAIL_MC}, and run: sendmailconfig"
        yield Finding(
            "milter-unused",
            "error",
            f"{where} does not name {', '.join(sorted(names))}: mail in a partner's name passes unchecked; {mend}",
        )
        if own is None:
            return


def _on_loopback(daemon: dict[str, str]) -> bool:
    """Whether nobody but this machine can connect, as where mail comes back from a content filter."""
    return daemon.get("A", "").strip("[]").lower() in ("127.0.0.1", "::1", "localhost")


def _for_users(facts: SendmailFacts, daemon: dict[str, str]) -> bool:
    """Whether nobody gets in who does not log in, and such clients are not checked."""
    return "a" in daemon.get("M", "") and facts.config.gateway.exempt_sasl
