"""Count, by partner, what the rules would have done to mail that was received.

Every rule is applied as if it were enforced, whatever its mode: that is what an administrator wants to know before
enforcing it. The decision is that of the policy service and the milter.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypeVar

from closedmail.core.address import parse_client
from closedmail.core.model import Mode
from closedmail.inbound.decision import Verdict, decide
from closedmail.inbound.facts import Envelope
from closedmail.inbound.partner import Match, Rulebook
from closedmail.inbound.sender import SenderError
from closedmail.replay.enforced import Enforced
from closedmail.replay.received_mail import Mail
from closedmail.replay.smtpd_events import Rejected, Shown

# Different addresses and certificates that are counted for one partner, so that forged mail from a whole botnet costs
# no more memory than that. Mail from others is counted together.
MOST_CLIENTS, MOST_CERTIFICATES = 1000, 100
UNKNOWN_CLIENT, OTHER_CLIENTS = "unknown", "other"
_FEW = 3  # mails

Key = TypeVar("Key")
Count = TypeVar("Count")


@dataclass(slots=True)
class ClientCount:
    """Mails from one address: how many, how many of them pass, and on which day the first came."""

    mails: int = 0
    accepted: int = 0
    day: str = ""
    several_days: bool = False


@dataclass(slots=True)
class Example:
    """Mails that would be refused for one reason from one address, with the first of them."""

    queue_id: str
    time: str
    mails: int = 0


@dataclass(slots=True)
class PartnerTally:
    """One partner's mails. `missing` counts, for each fact that is not in the log, the mails that depend on it."""

    network: str | None
    mode: Mode
    accept: int = 0
    reject: int = 0
    unknown: int = 0
    refused: int = 0
    deferred: int = 0
    clients: dict[str, ClientCount] = field(default_factory=dict)
    rejects: dict[tuple[str, str], Example] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    certificates: Counter[Shown] = field(default_factory=Counter)

    def doubtful(self, several_days: bool) -> list[str]:
        """List the addresses that may not be the partner's.

        Nothing from there passes, and it is few mails, or all on one day of a log of several: as a forger's would be.
        """
        return [
            address
            for address in self.addresses
            if not (count := self.clients[address]).accepted
            and (count.mails < _FEW or (several_days and not count.several_days))
        ]

    @property
    def addresses(self) -> list[str]:
        """All addresses that mail came from, sorted."""
        known = (text for text in self.clients if text not in (UNKNOWN_CLIENT, OTHER_CLIENTS))
        return [str(address) for address in sorted(map(ip_address, known), key=lambda item: (item.version, int(item)))]

    def to_json(self, several_days: bool) -> dict[str, Any]:
        """Render the object of the public interface."""
        return {
            "network": self.network,
            "mode": self.mode,
            "accept": self.accept,
            "reject": self.reject,
            "unknown": self.unknown,
            "refused": self.refused,
            "deferred": self.deferred,
            "clients": {address: count.mails for address, count in most(self.clients, lambda count: count.mails)},
            "allow_from": self.addresses,
            "doubtful": self.doubtful(several_days),
            "rejects": [
                {
                    "reason": reason,
                    "client": client,
                    "count": example.mails,
                    "queue_id": example.queue_id,
                    "time": example.time,
                }
                for (reason, client), example in most(self.rejects, lambda example: example.mails)
            ],
            "missing": dict(self.missing),
            "certificates": [
                {**shown._asdict(), "count": count} for shown, count in most(self.certificates, lambda count: count)
            ],
        }


def most(counts: dict[Key, Count], number: Callable[[Count], int]) -> list[tuple[Key, Count]]:
    """Sort counts, the largest first, then in the order in which they came."""
    return sorted(counts.items(), key=lambda item: -number(item[1]))


class Tally:
    """A count of mails as they come.

    `others` are the mails that were not a partner's, by the reason of the decision.
    """

    def __init__(self, book: Rulebook) -> None:
        """Start with nothing counted."""
        self.book = Enforced(book)
        self.partners: dict[str, PartnerTally] = {}
        self.others: Counter[str] = Counter()
        self.messages = self.unreadable = self.refused = self.deferred = 0
        self._day = ""
        self.several_days = False

    def received(self, mail: Mail) -> None:
        """Judge and count a mail."""
        self.messages += 1
        day = _day(mail.time)
        self.several_days = self.several_days or bool(self._day and day != self._day)
        self._day = day
        link = mail.link
        verdict = self._decide(
            Envelope(mail.sender, mail.address, mail.sasl_username, link.certificate, link.encrypted)
        )
        if verdict is None:
            self.unreadable += 1
        elif verdict.match is None:
            self.others[verdict.reason] += 1
        else:
            self._count(self._partner(verdict.match), verdict, mail, day)

    def rejected(self, rejection: Rejected) -> None:
        """Count a mail that was rejected when it came, for whatever reason."""
        verdict = self._decide(Envelope(rejection.sender or "", rejection.address))
        counted: list[Tally | PartnerTally] = [self]
        if verdict and verdict.match:
            counted.append(self._partner(verdict.match))
        for tally in counted:
            if rejection.for_good:
                tally.refused += 1
            else:
                tally.deferred += 1

    def _decide(self, envelope: Envelope) -> Verdict | None:
        try:
            return decide(envelope, self.book)
        except SenderError:
            return None

    def _partner(self, match: Match) -> PartnerTally:
        partner = self.partners.get(match.key)
        if partner is None:
            partner = self.partners[match.key] = PartnerTally(match.rule.network or None, self.book.mode(match))
        return partner

    def _count(self, partner: PartnerTally, verdict: Verdict, mail: Mail, day: str) -> None:
        address = str(parse_client(mail.address) or UNKNOWN_CLIENT)
        if address not in partner.clients and len(partner.clients) >= MOST_CLIENTS:
            address = OTHER_CLIENTS
        count = partner.clients.setdefault(address, ClientCount(day=day))
        count.mails += 1
        count.several_days = count.several_days or day != count.day
        shown = mail.link.shown
        if shown and (shown in partner.certificates or len(partner.certificates) < MOST_CERTIFICATES):
            partner.certificates[shown] += 1
        if verdict.outcome == "accept":
            partner.accept += 1
            count.accepted += 1
        elif verdict.outcome == "none":
            partner.unknown += 1
            partner.missing.update(_missing(verdict))
        else:
            partner.reject += 1
            partner.rejects.setdefault((verdict.reason, address), Example(mail.queue_id, mail.time)).mails += 1


def _missing(verdict: Verdict) -> list[str]:
    """List the facts that a rule needs and that are not in the log."""
    if verdict.match is None:
        return []
    inbound, facts = verdict.match.rule.inbound, verdict.facts
    needed = (("certificate", "cert" in inbound.require, facts.cert), ("tls", inbound.require_tls, facts.tls))
    return [name for name, wanted, fact in needed if wanted and fact is None]


def _day(time: str) -> str:
    return time[:10] if time[:1].isdigit() else time[:6]
