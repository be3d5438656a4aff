"""Check the milter in sendmail.cf: set for every listener, answering, and with mail deferred while it does not.

Which macros sendmail.cf sends at MAIL is not checked: the milter names those that it needs when it is connected.
"""

from collections.abc import Iterator

from closedmail.core.where import parse_where, socket_path
from closedmail.daemon.socket_peer import impostor_sentence
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.sendmail_facts import SENDMAIL_MC, SendmailFacts, rebuild
from closedmail.mta.sendmail_cf import MailFilter

NAME = "closedmail"
# libmilter's names for kinds of sockets.
_TIMES = "T=C:1m;S:30s;R:30s;E:2m"


def milter_findings(facts: SendmailFacts, start: Fix | None) -> Iterator[Finding]:
    """Find what is wrong with the milter; nothing where no rule demands anything of mail.

    `start` is the command that starts the milter, None where systemd does not run it.
    """
    if not facts.active:
        return
    ours = _ours(facts)
    if not ours:
        yield Finding.of(
            "milter-missing",
            "sendmail.cf does not ask closedmail's milter: mail in a partner's name passes unchecked; "
            + rebuild(_line(facts)),
        )
        yield from _answer_findings(facts, facts.config.milter.listen[0], start)
        return
    for item in ours:
        yield from _judge(facts, item, start)
    yield from _listener_findings(facts, {item.name for item in ours})


def _ours(facts: SendmailFacts) -> list[MailFilter]:
    listen = facts.config.milter.listen
    return [item for item in facts.cf.filters.values() if item.where in listen or item.name == NAME]


def _line(facts: SendmailFacts) -> str:
    """Make the line of the .mc that connects the milter."""
    place = parse_where(facts.config.milter.listen[0])
    socket = f"local:{place.path}" if place.path else place.libmilter()  # as cf/README spells it
    return f"INPUT_MAIL_FILTER(`{NAME}', `S={socket}, F=T, {_TIMES}')dnl"


def _judge(facts: SendmailFacts, item: MailFilter, start: Fix | None) -> Iterator[Finding]:
    replace = f"replace its line in {SENDMAIL_MC} by {_line(facts)} and run: sendmailconfig"
    if item.flag not in ("T", "R", "4"):
        yield Finding.of(
            "milter-flags",
            f"the mail filter {item.name} in sendmail.cf has no F=T: while the milter does not answer, mail passes "
            f"unchecked; {replace}",
        )
    elif item.flag == "R":
        yield Finding.of(
            "milter-flags",
            f"the mail filter {item.name} in sendmail.cf has F=R: while the milter does not answer, all mail is "
            f"refused for good; {replace}",
            severity="warning",
        )
    if item.where not in facts.config.milter.listen:
        yield Finding.of(
            "milter-socket",
            f"the mail filter {item.name} in sendmail.cf asks at {item.where or 'no known socket'}, but listen of "
            f"[milter] has {', '.join(facts.config.milter.listen)}; {replace}",
        )
        return
    yield from _answer_findings(facts, item.where, start)


def _answer_findings(facts: SendmailFacts, where: str, start: Fix | None) -> Iterator[Finding]:
    path = socket_path(where)
    state = facts.machine.path(path) if path else None
    if state and state.writable_at:
        yield Finding.of(
            "milter-folder",
            f"{state.writable_at} can be written by its group or by others: Sendmail calls the milter's socket below "
            "it unsafe, and does not start",
            (facts.close_folder(state.writable_at),),
        )
    if user := facts.machine.stranger(where):
        yield Finding.of("impostor", impostor_sentence(where, user, "the milter"))
    if facts.machine.answers(where):
        return
    text = f"closedmail's milter does not answer on {where}: Sendmail defers mail, or lets it pass unchecked"
    if start:
        yield Finding.of("milter", text, (start,))
    else:
        yield Finding.of("milter", f"{text}; start it: {facts.config.command('milter')}")


def _listener_findings(facts: SendmailFacts, names: set[str]) -> Iterator[Finding]:
    """Find listeners that don't ask it: InputMailFilters counts, unless a listener has a list of its own."""
    for daemon in facts.cf.daemons:
        own = daemon.get("I")
        asked = facts.cf.option("InputMailFilters") if own is None else own
        if names & set(asked.replace(";", ",").replace(" ", "").split(",")):
            continue
        if own is not None and (_on_loopback(daemon) or _for_users(facts, daemon)):
            continue
        if own is None:
            where, remedy = "InputMailFilters in sendmail.cf", rebuild(_line(facts))
        else:
            where = f"InputMailFilters of the listener {daemon.get('N', daemon.get('P', 'MTA'))} in sendmail.cf"
            remedy = f"add {NAME} to it in {SENDMAIL_MC}, and run: sendmailconfig"
        yield Finding.of(
            "milter-unused",
            f"{where} does not name {', '.join(sorted(names))}: mail in a partner's name passes unchecked; {remedy}",
        )
        if own is None:
            return


def _on_loopback(daemon: dict[str, str]) -> bool:
    """Check whether nobody but this machine can connect, as where mail comes back from a content filter."""
    return daemon.get("A", "").strip("[]").lower() in ("127.0.0.1", "::1", "localhost")


def _for_users(facts: SendmailFacts, daemon: dict[str, str]) -> bool:
    """Check whether only clients that log in are accepted, and such clients are exempt."""
    return "a" in daemon.get("M", "") and facts.config.gateway.exempt_sasl
