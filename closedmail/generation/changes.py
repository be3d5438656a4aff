"""What a generation changes against the one in force, network by network, as `sync` reports it."""

from collections.abc import Iterator, Sequence

from closedmail.generation.difference import Difference, Previous
from closedmail.generation.generation import Generation


def report_changes(generation: Generation, differences: Sequence[Difference], previous: Previous) -> None:
    """Fill in `added`, `removed` and `changed` of every network that has a list.

    `differences` are those of the generation's listings against `previous`, in the order of its networks.
    """
    for number, (name, difference) in enumerate(zip(generation.networks, differences, strict=True)):
        changes = generation.changes[name]
        gone = (*difference.lost, *difference.ruled_out)
        changes.removed = sorted(key for key in gone if not _has(generation, number, key))
        changes.changed = sorted(key for key in difference.changed if _has(generation, number, key))
        if not previous.networks:
            changes.added = sorted(_keys(generation, number))
        elif difference.matched < difference.offered or difference.returned:
            returned = set(difference.returned)
            changes.added = sorted(
                key for key in _keys(generation, number) if key in returned or _is_new(key, name, previous)
            )


def _keys(generation: Generation, number: int) -> Iterator[str]:
    """The keys that the network's list gives their value."""
    yield from generation.listed[number]
    yield from (key for key, entry in generation.special.items() if entry.network == number and entry.listed)


def _has(generation: Generation, number: int, key: str) -> bool:
    entry = generation.special.get(key)
    if entry is not None:
        return entry.network == number and entry.listed
    return key in generation.listed[number]


def _is_new(key: str, name: str, previous: Previous) -> bool:
    old = previous.entry(key)
    return old is None or (old.network >= 0 and previous.networks[old.network] != name)
