"""The brakes: refuse a list that changes too much to be believed.

List is compared with list, never configuration (`generation/difference.py`); `sync --force` passes them.
"""

from collections.abc import Callable, Sequence
from itertools import islice

from closedmail.core.model import Brakes
from closedmail.errors import Refused
from closedmail.generation.difference import Difference, Previous
from closedmail.mailertable.listing import Listing

_NAMED = 5  # domains that a message names


def check_brakes(
    network: str,
    listing: Listing,
    difference: Difference | None,
    brakes: Brakes,
    previous: Previous,
    command: Callable[..., str],
) -> None:
    """Raise Refused (`empty`, `bad-lines`, `shrunk` or `grown`) for a list that changes too much to be believed.

    `difference` is the one against `previous`, or None while no list is in force; then only `empty` applies. `command`
    renders a closedmail command, as `Config.command` does.
    """
    accept = f"if the network confirms this list, accept it with: {command('sync', '--network', network, '--force')}"
    if not listing.entries:
        raise Refused("empty", f"the list of {network} has no entry that can be used; {accept}")
    if difference is None or not difference.total:
        return
    bad = listing.bad_lines
    if bad >= brakes.bad_line_floor and bad > _most(brakes.bad_line_limit, listing.rows):
        first = next(skipped for skipped in listing.skipped if skipped.bad)
        raise Refused(
            "bad-lines",
            f"{bad} of {listing.rows} lines of {network} are not understood (line {first.line}: {first.reason}), more "
            f"than bad_line_limit {_percent(brakes.bad_line_limit)}; look with: {command('lint')} FILE; {accept}",
        )
    lost = [key for key in difference.lost if key not in listing.unclear]
    hit = len(lost) + len(difference.changed)
    if hit >= brakes.shrink_floor and hit > _most(brakes.shrink_limit, difference.total):
        raise Refused(
            "shrunk",
            f"of {difference.total} domains of {network}, {len(lost)} would be lost{_some(lost)} and "
            f"{len(difference.changed)} rerouted{_some(difference.changed)}, more than shrink_limit "
            f"{_percent(brakes.shrink_limit)}; {accept}",
        )
    new = difference.new
    if new >= brakes.grow_floor and new > _most(brakes.grow_limit, difference.total):
        unknown = (key for key in listing.entries if previous.entry(key) is None)
        raise Refused(
            "grown",
            f"to {difference.total} domains of {network}, {new} would be added{_some([*islice(unknown, _NAMED + 1)])}, "
            f"more than grow_limit {_percent(brakes.grow_limit)}; whoever has stolen a signing key could take over "
            f"other domains in this way; {accept}",
        )


def _most(share: float, total: int) -> float:
    """Count what a share of a total allows. In binary 0.29 of 100 is a little less than 29, which nobody means."""
    return round(share * total, 6)


def _percent(share: float) -> str:
    """Spell a share as it is written in the configuration."""
    return f"{100 * share:.4g}%"


def _some(keys: Sequence[str]) -> str:
    if not keys:
        return ""
    more = ", …" if len(keys) > _NAMED else ""
    return f" ({', '.join(keys[:_NAMED])}{more})"
