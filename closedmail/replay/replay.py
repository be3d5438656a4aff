"""Apply the rules in force to mail that was already received: logs in, a report out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from closedmail.inbound.partner import Rulebook
from closedmail.replay.log_files import LogFile
from closedmail.replay.received_mail import Replay
from closedmail.replay.smtpd_events import Shown
from closedmail.replay.tally import PartnerTally, Tally, most
from closedmail.words import counted, printable

_SHOWN = 20  # lines of one kind for one partner in the report for people
_LOG_MORE = {
    "tls": "smtpd_tls_loglevel = 1",
    # More than the documented levels give, and without the debugging of level 2: Postfix's tls_misc.c, tls_log_table.
    "certificate": "smtpd_tls_loglevel = summary, peercert",
}


@dataclass(frozen=True)
class ReplayReport:
    """All counts. `first` and `last` are the times of the first and the last line that counted."""

    tally: Tally
    first: str
    last: str
    handed_back: int

    def to_json(self) -> dict[str, Any]:
        """Render the object of the public interface."""
        tally = self.tally
        return {
            "messages": tally.messages,
            "partners": {key: partner.to_json(tally.several_days) for key, partner in self._sorted()},
            "generation": tally.book.generation,
            "first": self.first,
            "last": self.last,
            "others": dict(tally.others),
            "unreadable": tally.unreadable,
            "refused": tally.refused,
            "deferred": tally.deferred,
            "handed_back": self.handed_back,
        }

    def lines(self) -> Iterator[str]:
        """Render the report for people."""
        tally, partners = self.tally, self._sorted()
        if not tally.messages and not tally.refused and not tally.deferred:
            yield "No mail that came over SMTP is in these logs."
            return
        yield (
            f"{counted(tally.messages, 'mail')} received over SMTP from {self.first} to {self.last}, judged by the "
            f"rules of generation {tally.book.generation} as if all were enforced."
        )
        if tally.others:
            yield f"Not in the name of a partner: {_list(tally.others)}."
        if tally.refused or tally.deferred:
            yield f"Refused when they came, and not among these: {tally.refused} for good, {tally.deferred} for now."
        if self.handed_back:
            yield f"Given back by a content filter, and counted once: {self.handed_back}."
        if tally.unreadable:
            yield f"With a sender that cannot be parsed: {tally.unreadable}; policyd would have deferred them."
        for key, partner in partners:
            yield ""
            yield from _partner_lines(key, partner, tally.several_days)

    def _sorted(self) -> list[tuple[str, PartnerTally]]:
        """Sort partners: first those whose mail would be refused, then those whose mail can't be judged."""
        return sorted(self.tally.partners.items(), key=lambda item: (-item[1].reject, -item[1].unknown, item[0]))


def replay(logs: Iterable[LogFile], book: Rulebook, step: Callable[[str], None]) -> ReplayReport:
    """Read open logs, and judge all mail in them; `step` gets the name of each log. Raises ClosedmailError."""
    tally = Tally(book)
    joined = Replay(tally.received, tally.rejected)
    for log in logs:
        step(log.name)
        for line in log.lines():
            joined.feed(line)
    joined.finish()
    return ReplayReport(tally, joined.first, joined.last, joined.handed_back)


def _partner_lines(key: str, partner: PartnerTally, several_days: bool) -> Iterator[str]:
    whose = f"network {partner.network}" if partner.network else "alone"
    refused = f"{partner.reject} would be refused under enforce"
    unknown = f", {partner.unknown} cannot be judged by this log" if partner.unknown else ""
    yield f"{key} ({whose}, mode {partner.mode}): {partner.accept} accepted, {refused}{unknown}"
    if partner.refused or partner.deferred:
        yield f"  refused when they came: {partner.refused} for good, {partner.deferred} for now"
    for (reason, client), example in _first(most(partner.rejects, lambda item: item.mails)):
        which = f"the first {example.queue_id or 'before a filter'} at {example.time}"
        yield f"  would be refused: {example.mails} for {reason} from {client}, {which}"
    if partner.missing:
        # The one for certificates logs TLS too.
        wanted = "certificate" if partner.missing["certificate"] else "tls"
        yield f"  missing in this log: {_list(partner.missing)}; set {_LOG_MORE[wanted]}"
    clients = most(partner.clients, lambda count: count.mails)
    if clients:
        more = f" and {len(clients) - _SHOWN} more" if len(clients) > _SHOWN else ""
        yield f"  came from: {', '.join(f'{name} ({count.mails})' for name, count in clients[:_SHOWN])}{more}"
    for shown, mails in _first(partner.certificates.most_common()):
        yield f"  certificate: {_certificate(shown)} ({mails})"
    yield from _allow_from(partner, several_days)


def _allow_from(partner: PartnerTally, several_days: bool) -> Iterator[str]:
    addresses, doubtful = partner.addresses, partner.doubtful(several_days)
    if not addresses:
        return
    yield "  this would let it in, forged mail included; ask the partner before you add it:"
    yield "    allow_from = ["
    unlikely = frozenset(doubtful)
    for address in addresses:
        count = partner.clients[address]
        if ip_address(address).is_loopback:
            mails = counted(count.mails, "mail")
            yield f'    #  "{address}",  # {mails}: this machine itself, perhaps a content filter'
        elif address not in unlikely:
            passes = "" if count.accepted == count.mails else f", {count.accepted} of them pass now"
            yield f'       "{address}",  # {counted(count.mails, "mail")}{passes}'
    doubted = [address for address in doubtful if not ip_address(address).is_loopback]
    for address in doubted[:_SHOWN]:
        count = partner.clients[address]
        when = f", all on {count.day}" if several_days and not count.several_days else ""
        yield f'    #  "{address}",  # {counted(count.mails, "mail")}{when}: perhaps forged'
    if len(doubted) > _SHOWN:
        yield f"    #  and {len(doubted) - _SHOWN} more that are perhaps forged: --json has them"
    yield "    ]"


def _certificate(shown: Shown) -> str:
    trust = {True: "verified", False: "not verified", None: ""}[shown.trusted]
    if shown.fingerprint is None:
        return f"{trust}, with no more in this log; set {_LOG_MORE['certificate']}"
    names = f"CN {_word(shown.subject)}, issuer {_word(shown.issuer)}"
    prints = f"fingerprint {shown.fingerprint}, pubkey_fingerprint {shown.pubkey_fingerprint or '-'}"
    return f"{names}, {trust}, {prints}"


def _word(name: str | None) -> str:
    if name is None:
        return "?"
    return printable(name) or "-"


def _first(items: Sequence[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    yield from items[:_SHOWN]


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
