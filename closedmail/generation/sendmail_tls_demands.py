"""Decide what TLS Sendmail is to demand for each recipient domain (`TLS_Rcpt:` in its access table).

Source: cf/m4/proto.m4, tls_rcpt, TLS_connection and TLS_req. `TLS_Rcpt:x` counts for x *and* for all below it that has
no row of its own; there is no row for what is below alone. So a name's row has to satisfy the route of x and the
one that covers what is below x, and a partner below another one gets a row that lifts what is not meant for it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from closedmail.core.domain import parents
from closedmail.core.hold_reason import Why
from closedmail.core.model import Outbound
from closedmail.core.record import Entry
from closedmail.core.rule import Rule
from closedmail.generation.difference import Previous
from closedmail.generation.generation import Generation, held
from closedmail.routes.delivery import Delivery, DeliveryKind, delivery_of, rendered
from closedmail.routes.sendmail_route import LONGEST_VALUE, mailertable_value
from closedmail.routes.tls_policy import Policy, joint

LIFTED = Policy("may")
_ENCRYPT = Policy("encrypt")
_SERVER = Policy("verify", ("CN",))


def recipient_policy(delivery: Delivery, outbound: Outbound) -> Policy | str:
    """Return the TLS policy that a route demands, or why Sendmail can't enforce it, with what to do.

    `verify` and `secure` compare the certificate's common name, the only name that TLS_Rcpt compares: `tls_match`, else
    the one host that is named; where MX records name it, at level verify, the name of the server.
    """
    if outbound.tls in ("none", "may"):
        return LIFTED
    if outbound.tls == "encrypt":
        return _ENCRYPT
    if outbound.tls_match:
        return _named(outbound.tls_match[0])
    hosts = delivery.hosts
    if any(host.is_address for host in hosts):
        return f"tls {outbound.tls!r} has no name to ask for on an address literal: set tls_match"
    if len(hosts) == 1 and (outbound.tls == "secure" or not hosts[0].mx):
        return _named(hosts[0].name)
    if outbound.tls == "verify" and all(host.mx for host in hosts):
        return _SERVER
    return f"Sendmail can ask for one name only at tls {outbound.tls!r}, and the route has several hosts: set tls_match"


def recipient_policies(entries: Iterable[tuple[str, Entry]], rules: Iterable[Rule]) -> dict[str, Policy]:
    """Return the policy of every name that has a route, after `settle_recipients` has held what is impossible."""
    return Demands(entries, list(rules)).policies()


def settle_recipients(generation: Generation, previous: Previous, now: int) -> None:
    """Hold domains whose demand Sendmail can't enforce, and note where a domain gets a stricter demand than its own."""
    demands = Demands(generation.entries(), generation.rules)
    reasons = dict(demands.impossible)
    stricter: dict[tuple[str, Policy], list[str]] = {}
    for name in sorted(demands.names()):
        chosen, wanted = demands.of(name), demands.exact.get(name)
        if chosen is None:
            words = (
                f"{name} and what is below it want different names or levels of TLS, and Sendmail has one row for both"
            )
            for key in (name, "." + name):
                reasons[key] = words + ": give both one policy"
        elif wanted is not None and chosen != wanted:
            entry = generation.get(name)
            if entry:
                network = generation.rules[entry.rule].network
                stricter.setdefault((network, chosen), []).append(name)
    for (network, chosen), names in stricter.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        generation.changes[network].notes.append(
            f"{names[0]}{more}: Sendmail asks for TLS {chosen.level} there, as for what is below it"
        )
    _hold(generation, reasons, Why.TLS, previous, now)
    _hold(generation, demands.too_long, Why.ROUTE, previous, now)


def _hold(generation: Generation, reasons: Mapping[str, str], why: Why, previous: Previous, now: int) -> None:
    notes: dict[str, set[str]] = {}
    for key, reason in reasons.items():
        entry = generation.get(key)
        if entry is None or not entry.in_force:
            continue
        for entries in generation.listed:
            entries.pop(key, None)
        generation.special[key] = held(entry, why, previous.entry(key), now)
        notes.setdefault(generation.rules[entry.rule].network, set()).add(reason)
    for name, sentences in notes.items():
        generation.changes[name].notes.extend(f"held: {sentence}" for sentence in sorted(sentences))


def is_demand(policy: Policy) -> bool:
    """Check whether a policy can ever keep a mail back."""
    return policy.level != LIFTED.level


class _Demand(NamedTuple):
    """The demand of one record. `policy` is None where nothing is delivered; `impossible` is why it can't be met."""

    kind: DeliveryKind
    policy: Policy | None = None
    impossible: str = ""
    too_long: bool = False


def _demand(entry: Entry, rule: Rule) -> _Demand:
    delivery = delivery_of(entry, rule.outbound)
    if delivery.kind is not DeliveryKind.ROUTED or rule.outbound is None:
        return _Demand(delivery.kind)
    if len(mailertable_value(delivery) or "") > LONGEST_VALUE:
        return _Demand(delivery.kind, too_long=True)
    policy = recipient_policy(delivery, rule.outbound)
    if isinstance(policy, str):
        return _Demand(delivery.kind, impossible=policy)
    return _Demand(delivery.kind, policy)


class Demands:
    """The demands of routes: `exact` by the name of a domain, `below` by that of a suffix; None: nothing is delivered.

    `impossible` and `too_long` have the reasons why keys can't be routed.
    """

    def __init__(self, entries: Iterable[tuple[str, Entry]], rules: list[Rule]) -> None:
        self.exact: dict[str, Policy | None] = {}
        self.below: dict[str, Policy | None] = {}
        self.impossible: dict[str, str] = {}
        self.too_long: dict[str, str] = {}
        for key, demand in rendered(entries, rules, _demand):
            if demand.impossible:
                self.impossible[key] = demand.impossible
            elif demand.too_long:
                self.too_long[key] = f"the route of {key} has more than {LONGEST_VALUE} bytes, which Sendmail can't use"
            if key.startswith("."):
                self.below[key[1:]] = demand.policy
            elif demand.kind is DeliveryKind.INBOUND_ONLY:  # routed as if there were no row, without any demand
                self.exact[key] = LIFTED
            else:
                self.exact[key] = demand.policy

    def policies(self) -> dict[str, Policy]:
        """Return the policies by the names that have routes."""
        return {name: policy for name in self.names() if (policy := self.of(name)) is not None}

    def names(self) -> set[str]:
        """Return all names that need a row, or are covered by one."""
        return {name for rows in (self.exact, self.below) for name, policy in rows.items() if policy is not None}

    def of(self, name: str) -> Policy | None:
        """Return the demand for the row of a name, which counts for it and for what is below it.

        None where nothing is delivered, or two demands are not comparable.
        """
        if not self.below:  # as in most lists
            return self.exact.get(name)
        above = next((self.below[parent] for parent in parents(name) if parent in self.below), None)
        exact, below = self.exact.get(name, above), self.below.get(name, above)
        if exact is None or below is None:
            return exact or below
        return joint(exact, below)


def _named(name: str) -> Policy:
    return Policy("verify", (f"CN:{name.lower()}",))
