"""Decide how long Sendmail's TLS demands outlive their routes: by name, where a row counts for all below it, too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from closedmail.core.domain import parents
from closedmail.core.record import Entry
from closedmail.core.rule import Rule
from closedmail.generation.sendmail_tls_demands import Demands, is_demand
from closedmail.routes.tls_policy import Policy, Row, linger


@dataclass(frozen=True, slots=True)
class DemandsInForce:
    """The demands in force until now.

    `own` are by the names that have routes, `inherited` those of a suffix for other names that are looked up, `staying`
    the rows that stay for a time.
    """

    own: Mapping[str, Policy] = field(default_factory=dict)
    inherited: Mapping[str, Policy] = field(default_factory=dict)
    staying: Mapping[str, Row] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        entries: Iterable[tuple[str, Entry]],
        rules: Iterable[Rule],
        staying: Mapping[str, Row],
        names: Iterable[str],
    ) -> "DemandsInForce":
        """Collect the demands of a generation, for look-ups of `names`."""
        demands = Demands(entries, list(rules))
        own = demands.policies()
        inherited = {}
        if demands.below:
            inherited = {name: found for name in names if name not in own and (found := demands.of(name)) is not None}
        return cls(own, inherited, staying)

    def row(self, name: str) -> Row | None:
        """Find the demand on a name that has no row yet: the nearest row, where that only stays, else the suffix's."""
        for above in parents(name):
            if above in self.staying:
                return self.staying[above]
            if above in self.own:
                break
        return Row(self.inherited[name]) if name in self.inherited else None


def staying_recipients(
    before: DemandsInForce,
    policies: Mapping[str, Policy],
    now: int,
    linger_for: int,
    latest: int = 0,
    anew: int = 0,
) -> dict[str, Row]:
    """Find the rows that stay beside the wanted ones, or instead of looser ones, and until when (`tls_policy.linger`).

    A Sendmail process that has looked a route up asks for the TLS row minutes later. Only demands stay, never what
    lifts them. A name that has lost its row falls under the one above it, which may demand more than the old one;
    and a new name takes what is below it away from the row that covered it.
    """
    rows = {name: Row(policy) for name, policy in before.own.items()} | dict(before.staying)
    rows |= {name: row for name in policies.keys() - rows.keys() if (row := before.row(name)) is not None}
    rows = {name: row for name, row in rows.items() if is_demand(row.policy)}
    wanted = {name: policy for name in rows if (policy := lookup(policies, name)) is not None}
    staying = linger(rows.items(), wanted, now, linger_for, latest, anew)
    for name, row in rows.items():
        until, new = row.until or max(now, latest) + linger_for, wanted.get(name)
        until = min(until, anew + linger_for) if anew else until
        if new is not None and name not in policies and name not in staying and now < until:
            staying[name] = Row(new, until)  # the row above it may be gone tomorrow, or the name may come back
    return staying


def lookup(rows: Mapping[str, Policy], name: str) -> Policy | None:
    """Find the row that Sendmail would find: that of the name, else of the nearest name above it."""
    return next((rows[above] for above in (name, *parents(name)) if above in rows), None)
