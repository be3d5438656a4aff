"""Run `closedmail release`: release held domains at once, stop routing kept ones, and end TLS rows that only linger."""

from collections.abc import Sequence

from closedmail.core.hold_reason import Why
from closedmail.core.model import Config
from closedmail.core.record import Entry, State
from closedmail.errors import ClosedmailError
from closedmail.generation.earlier import Without
from closedmail.generation.settle import released_line
from closedmail.routes.delivery import route_of
from closedmail.routes.tls_policy import row_place
from closedmail.store.snapshot import Snapshot
from closedmail.sync.in_force import InForce
from closedmail.sync.inputs import check_services, gather
from closedmail.sync.locked_run import locked_run
from closedmail.sync.plan import Plan, report_in_force
from closedmail.sync.publication import GenerationLabel
from closedmail.sync.sync_report import SyncReport

# The reason why it can't be released, and what to do.
_NOT_RELEASED = {
    Why.TLS: (
        "its TLS demand can't be met",
        "fix that instead of releasing its mail; it is explained by: {closedmail} sync",
    ),
    Why.ROUTE: ("its route is too long for Sendmail", "ask for a shorter one, or give it a [partner] table"),
    Why.FAMILY: (
        "inet_protocols of Postfix rules out each address of its route",
        "fix that instead; it is explained by: {closedmail} sync",
    ),
    Why.FOLDED: ("its spelling is also another domain's for Postfix", "a [partner] table decides"),
}


def release(file: Config, keys: Sequence[str], *, now: int | None = None) -> SyncReport:
    """Release what is held, or kept, under these keys: all of them, or none where one is not held.

    Under a nexthop, or a partner that is routed, it is TLS rows that are released: those that only stay for a time.

    The rules are those in force: a file that has changed since is the next sync's. A domain that is held because its
    line is not understood stays released as long as that line stays as it is.

    Raises ClosedmailError for a domain that is not held, Refused (`busy`, `publish-failed`), ConfigError and
    StoreError; then nothing has changed.
    """
    with locked_run(file, now) as run:
        snapshot, manifest = run.in_force()
        ended: set[str] = set()
        for key in keys:
            lingering = _lingering(key, snapshot)
            if not lingering:
                _check_held(key, snapshot.entry(key))
            ended |= lingering
        rules = run.rules_in_force()
        inputs = gather(rules)
        check_services(inputs)
        lists = run.lists(inputs)
        report = report_in_force(rules, snapshot)
        found = InForce(run, inputs)
        plan = Plan(
            run,
            inputs,
            lists,
            Without(found.before, {key for key in keys if not _lingering(key, snapshot)}),
            report,
            stored=snapshot,
        )
        marks = {
            released_line(item.network.name, key): mark
            for item, listing in zip(lists, plan.listings, strict=True)
            for key, mark in (listing.unclear.items() if listing else ())
            if key in keys
        }
        label = GenerationLabel(found.number + 1, "release", rules_of=manifest.rules_of, set_aside=manifest.set_aside)
        plan.publish(label, manifest.released | marks, ended=ended)
        run.tidy()
        return report


def _lingering(key: str, snapshot: Snapshot) -> set[str]:
    """Find the nexthops and names whose TLS rows only stay for a time, for one of them or for a partner in force."""
    entry = snapshot.entry(key)
    if entry is not None and entry.state is not State.ROUTED:
        return set()
    outbound = snapshot.rules[entry.rule].outbound if entry else None
    own = route_of(entry.value, outbound).rows if entry and outbound else ()
    names = {key.removeprefix(".")} if snapshot.staying_recipient(key.removeprefix(".")) else set()
    return names | {
        name for name, row in snapshot.tls_rows() if row.until and (name in own or row_place(name)[1] == key)
    }


def _check_held(key: str, entry: Entry | None) -> None:
    if entry is None or entry.state not in (State.HELD, State.KEPT):
        raise ClosedmailError(f"{key} is not held", "{closedmail} status names what is")
    if entry.why in _NOT_RELEASED:
        fault, remedy = _NOT_RELEASED[entry.why]
        raise ClosedmailError(f"{key} can't be released: {fault}", remedy)
