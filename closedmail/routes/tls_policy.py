"""Compare TLS policies, one per nexthop: which of two is stricter, and how long one has to stay.

Postfix looks a policy up by the nexthop, verbatim (smtp_tls_policy_maps in postconf(5)). Mail in the active queue keeps
the nexthop that it was given, so that a row is needed for some time after the last route to it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from closedmail.core.model import Outbound
from closedmail.routes.nexthop import MailHost

_CLEAR = ("none", "may")
_ORDER = ("none", "may", "encrypt", "verify", "secure")


@dataclass(frozen=True, slots=True)
class Policy:
    """A row's value: a level and its attributes in the order in which they are written."""

    level: str
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.level, *self.attributes))

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Parse what str() wrote."""
        level, *attributes = text.split(" ")
        return cls(level, tuple(attributes))


@dataclass(frozen=True, slots=True)
class Row:
    """A policy in force. `until` is 0 while a route needs exactly this one, else the second from which it may go.

    `looser` is what routes want in the meantime, where that is a looser policy.
    """

    policy: Policy
    until: int = 0
    looser: Policy | None = None

    def __str__(self) -> str:
        """Spell the row as the policy store keeps it."""
        looser = f"\n{self.looser}" if self.looser else ""
        return f"{self.until} {self.policy}{looser}"

    @classmethod
    def parse(cls, text: str) -> "Row":
        """Parse what str() wrote."""
        first, _, looser = text.partition("\n")
        until, _, policy = first.partition(" ")
        return cls(Policy.parse(policy), int(until), Policy.parse(looser) if looser else None)


def policy_of(outbound: Outbound) -> Policy:
    """Return the policy that a network, or partner, demands of its nexthops.

    Source: smtp_tls_policy_maps: `match` separates by `:`, at level fingerprint by `|`.
    """
    if outbound.tls == "none":
        return Policy("none")  # attributes are ignored there, with a warning for every delivery
    attributes = []
    if outbound.tls_match:
        separator = "|" if outbound.tls == "fingerprint" else ":"
        attributes.append("match=" + separator.join(outbound.tls_match))
    if outbound.tls_protocols:
        attributes.append("protocols=" + outbound.tls_protocols)
    if outbound.tls_ciphers:
        attributes.append("ciphers=" + outbound.tls_ciphers)
    return Policy(outbound.tls, tuple(attributes))


def stricter(one: Policy, other: Policy) -> Policy | None:
    """Return the policy of the stricter level, or None where two policies are not comparable.

    They are not by their levels, or because they are of one level and differ.
    """
    if one == other:
        return one
    if one.level not in _ORDER or other.level not in _ORDER or one.level == other.level:
        return None
    return max(one, other, key=lambda policy: _ORDER.index(policy.level))


def looser(one: Policy, other: Policy) -> bool:
    """Check whether one policy gives up what the other one demands.

    It does by the order of levels, or, where these are not comparable, by sending mail in the clear that the other one
    never does.
    """
    strict = stricter(one, other)
    if strict is not None:
        return one not in (other, strict)
    return one.level in _CLEAR and other.level not in _CLEAR


def joint(one: Policy, other: Policy) -> Policy | None:
    """Combine two policies that are wanted for one nexthop; return None where they are not comparable.

    The stricter level counts, with the protocols and ciphers that the weaker one demands and it leaves open.
    """
    strict = stricter(one, other)
    if strict is None:
        return None
    weak = other if strict == one else one
    open_names = {"protocols", "ciphers"} - {item.partition("=")[0] for item in strict.attributes}
    demanded = (item for item in weak.attributes if item.partition("=")[0] in open_names)
    return Policy(strict.level, (*strict.attributes, *demanded))


def why_impossible(host: MailHost, policy: Policy) -> str | None:
    """Return why Postfix could never deliver so, or only in plain text, and what to do; None where it can."""
    if policy.level in (*_CLEAR, "encrypt", "fingerprint") or not host.is_address:
        return None
    if policy.level.startswith("dane"):
        return f"tls {policy.level!r} can't work on the address literal {host.nexthop}: choose another level for it"
    if policy.level in ("verify", "secure") and not any(item.startswith("match=") for item in policy.attributes):
        return (
            f"tls {policy.level!r} never succeeds on the address literal {host.nexthop} without a name: set tls_match"
        )
    return None


def linger(
    in_force: Iterable[tuple[str, Row]],
    wanted: Mapping[str, Policy],
    now: int,
    linger_for: int,
    latest: int = 0,
    anew: int = 0,
) -> dict[str, Row]:
    """Find the rows that stay beside the wanted ones, or instead of a looser wanted one, and until when.

    A row that no route wants any more, or that is wanted looser, stays for `linger_for` seconds from the first time
    that this is so; the looser one has the same right afterwards, and then the stricter stays in its place. Where none
    of the two is looser the wanted one counts at once. With `anew`, a time, none stays for longer than from then: their
    times came from a clock that was ahead.
    """
    staying: dict[str, Row] = {}
    for nexthop, row in in_force:
        new = wanted.get(nexthop)
        if new is not None and not looser(new, row.policy):
            continue
        until = row.until or max(now, latest) + linger_for
        if row.looser is not None and (new is None or stricter(new, row.looser) != new):
            until = max(now, latest) + linger_for  # a route wanted the looser one until now
        until = min(until, anew + linger_for) if anew else until
        if now < until:
            staying[nexthop] = Row(row.policy, until, new)
    return staying
