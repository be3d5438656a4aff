"""Compare TLS policies, one per nexthop: which of two is stricter, and how long one has to stay.

Postfix looks a policy up by the nexthop, verbatim (smtp_tls_policy_maps in postconf(5)). Mail in the active queue keeps
the nexthop that it was given, so that a row is needed for some time after the last route to it.

A network with a service of its own has a table of its own. A row is known by its nexthop, in such a table by the
table's name, a blank and the nexthop (`row_name`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from closedmail.core.model import SHARED_TABLE, Outbound
from closedmail.routes.nexthop import MailHost
from closedmail.routes.tls_protocols import BadProtocols, allowed_versions

_CLEAR = ("none", "may")
_ORDER = ("none", "may", "encrypt", "verify", "secure")
# The levels that give up nothing of what a level demands. For two demands at one time `_ORDER` alone counts.
_AS_STRICT = {
    "none": (*_ORDER, "dane", "dane-only", "fingerprint"),
    "may": ("may", "encrypt", "verify", "secure", "dane", "dane-only", "fingerprint"),
    "encrypt": ("encrypt", "verify", "secure", "dane-only", "fingerprint"),
    "verify": ("verify", "secure"),
    "secure": ("secure",),
    "dane": ("dane", "dane-only"),
    "dane-only": ("dane-only",),
    "fingerprint": ("fingerprint",),
}
_GRADES = ("export", "low", "medium", "high")  # "null" is another thing: no encryption


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

    `looser` is what routes want in the meantime, where that is not as strict.
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


def row_name(table: str, nexthop: str) -> str:
    """Name a row: a nexthop of a table."""
    return nexthop if table == SHARED_TABLE else f"{table} {nexthop}"


def row_place(name: str) -> tuple[str, str]:
    """Return the table and the nexthop of a row from its name."""
    table, blank, nexthop = name.rpartition(" ")
    return (table, nexthop) if blank else (SHARED_TABLE, name)


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


def joint(one: Policy, other: Policy) -> Policy | None:
    """Combine two policies that are wanted for one nexthop; return None where they are not comparable.

    The stricter level counts, and of protocols and ciphers the narrower choice, whichever of the two demands it. Who
    has to be at the other end is for the stricter level to say; at one level both have to say the same.
    """
    if one.level == other.level:
        return _joined(one, other) if _identity(one) == _identity(other) else None
    if one.level not in _ORDER or other.level not in _ORDER:
        return None
    weak, strict = sorted((one, other), key=lambda policy: _ORDER.index(policy.level))
    return _joined(strict, weak)


def keeps(new: Policy, old: Policy) -> bool:
    """Check whether one policy demands all that the other one does, so that it may replace it at once.

    Another name or fingerprint is as good: only the administrator gives these, and the old one would keep the mail of
    a partner with a new certificate in the queue.
    """
    return new.level in _AS_STRICT[old.level] and _joined(new, old) == new


def meanwhile(new: Policy, old: Policy) -> Policy:
    """Return what stands while `old` has to be kept and `new` is wanted: both demands where they can be combined."""
    if new.level == old.level:
        return _joined(Policy(old.level, _identity(new) + _choice(old)), new) or old
    if new.level in _AS_STRICT[old.level]:
        return _joined(new, old) or old
    if old.level in _AS_STRICT[new.level]:
        return _joined(old, new) or old
    if old.level == "dane":  # it sends in the clear where there is no TLSA record, and the new one never does
        return _joined(Policy("dane-only", old.attributes), new) or old
    return old


def _joined(strict: Policy, weak: Policy) -> Policy | None:
    """Return the first policy with the narrower protocols and ciphers of both; None where none is the narrower."""
    attributes = dict(item.partition("=")[::2] for item in _choice(strict))
    for name, value in (item.partition("=")[::2] for item in _choice(weak)):
        narrower = _NARROWER[name](attributes.get(name, value), value)
        if narrower is None:
            return None
        attributes[name] = narrower
    chosen = tuple(f"{name}={attributes[name]}" for name in _NARROWER if name in attributes)
    if set(chosen) == set(_choice(strict)):
        return strict
    return Policy(strict.level, (*_identity(strict), *chosen))


def _choice(policy: Policy) -> tuple[str, ...]:
    """Return the attributes that choose protocols and ciphers."""
    return tuple(item for item in policy.attributes if item.partition("=")[0] in _NARROWER)


def _identity(policy: Policy) -> tuple[str, ...]:
    """Return the attributes that say who has to be at the other end."""
    return tuple(item for item in policy.attributes if item.partition("=")[0] not in _NARROWER)


def _narrower_protocols(one: str, other: str) -> str | None:
    if one == other:
        return one
    try:
        some, others = allowed_versions(one), allowed_versions(other)
    except BadProtocols:
        return None
    return one if some <= others else other if others <= some else None


def _narrower_ciphers(one: str, other: str) -> str | None:
    if one == other:
        return one
    if one not in _GRADES or other not in _GRADES:
        return None
    return max(one, other, key=_GRADES.index)


_NARROWER: dict[str, Callable[[str, str], str | None]] = {
    "protocols": _narrower_protocols,
    "ciphers": _narrower_ciphers,
}


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
    """Find the rows that stay beside the wanted ones, or in place of a wanted one, and until when.

    A row that no route wants any more, or that is wanted otherwise and not as strict, stays for `linger_for` seconds
    from the first time that this is so; the other one has the same right afterwards. What it demands beyond the row
    that stays holds at once (`meanwhile`). With `anew`, a time, none stays for longer than from then: their times came
    from a clock that was ahead.
    """
    staying: dict[str, Row] = {}
    for nexthop, row in in_force:
        new = wanted.get(nexthop)
        if new is not None and keeps(new, row.policy):
            continue
        until = row.until or max(now, latest) + linger_for
        if row.looser is not None and (new is None or not keeps(new, row.looser)):
            until = max(now, latest) + linger_for  # a route wanted the other one until now
        until = min(until, anew + linger_for) if anew else until
        if now < until:
            staying[nexthop] = Row(row.policy if new is None else meanwhile(new, row.policy), until, new)
    return staying
