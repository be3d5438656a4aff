"""Define a generation: every domain's record, the TLS policies that routes want, and what it changes.

Plain entries stay in the dictionaries that the lists' reader made; only special entries have a record of their own, so
that a million domains cost one dictionary.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import TypeVar

from closedmail.core.hold_reason import Why
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.routes.tls_policy import Policy

T = TypeVar("T")
_KNOWN = 1 << 16  # entries remembered at a time


def interleave(many: Iterable[tuple[str, T]], few: Sequence[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Merge sorted pairs; heapq.merge would pay for every one of the many."""
    rest = iter(few)
    waiting = next(rest, None)
    for pair in many:
        while waiting is not None and waiting[0] < pair[0]:
            yield waiting
            waiting = next(rest, None)
        yield pair
    if waiting is not None:
        yield waiting
        yield from rest


@dataclass(slots=True)
class Changes:
    """The changes that a generation makes for one network: keys, and sentences for people.

    `removed` has what the list lost, also where it is held now; `held` all that is held now. `yielded` are keys that
    another network has already, with that network's name, `barred` those that another one's suffix or closed domain
    covers, with a sentence about that.
    """

    domains: int = 0
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    yielded: dict[str, str] = field(default_factory=dict)
    barred: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Generation:
    """The content of a generation that is about to be in force.

    `listed` has each network's plain entries (key to value), disjoint; `special` every other record. `policies` are
    the TLS policies that routes want, by the name of their row (`tls_policy.row_name`). `spellings` maps folded U-label
    spellings to their key, or to "" where two domains share one. `changes` is by network name, "" for partners without
    a network. `beyond` has the records that lists and configuration alone would not give again: what is held or kept
    since a former list, what keeps its route for a bad line, the owner of a key that several lists give; `released` the
    marks of bad lines whose domains an administrator has released (by `settle.released_line`).
    """

    rules: list[Rule]
    networks: tuple[str, ...]
    listed: list[dict[str, str]]
    special: dict[str, Entry]
    policies: dict[str, Policy]
    spellings: dict[str, str]
    closed: dict[str, int]
    changes: dict[str, Changes]
    beyond: dict[str, Entry] = field(default_factory=dict)
    released: dict[str, str] = field(default_factory=dict)

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Yield all records in the order of their keys."""
        plain = [self._plain(number, entries) for number, entries in enumerate(self.listed) if entries]
        main = plain[0] if len(plain) == 1 else merge(*plain, key=lambda item: item[0])
        return interleave(main, sorted(self.special.items()))

    def _plain(self, number: int, entries: dict[str, str]) -> Iterator[tuple[str, Entry]]:
        known: dict[str, Entry] = {}  # values repeat, and making an entry costs more than finding it
        for key in sorted(entries):
            value = entries[key]
            entry = known.get(value)
            if entry is None:
                if len(known) >= _KNOWN:
                    known.clear()
                entry = known[value] = Entry(number, value, number)
            yield key, entry

    def get(self, key: str) -> Entry | None:
        """Return the record of exactly this key."""
        entry = self.special.get(key)
        if entry is not None:
            return entry
        for number, entries in enumerate(self.listed):
            if key in entries:
                return Entry(number, entries[key], number)
        return None

    @property
    def holds_due(self) -> dict[str, int]:
        """The seconds at which the first hold of each network is due, where one is."""
        found: dict[str, int] = {}
        for entry in self.special.values():
            if entry.until and entry.network >= 0:
                name = self.networks[entry.network]
                found[name] = min(entry.until, found.get(name, entry.until))
        return found

    @property
    def holds_begun(self) -> int:
        """The second at which the last hold that ends by itself began, 0 for none."""
        return max((entry.since for entry in self.special.values() if entry.until), default=0)


def held(entry: Entry, why: Why, old: Entry | None, now: int) -> Entry:
    """Make an entry held for a reason of our own, since the first generation that held it for this reason.

    An entry that no list gives stays as it is, and waits: the next list has to be compared with it.
    """
    if entry.why in (Why.LOST, Why.UNCLEAR):
        return entry._replace(state=State.HELD)
    since = old.since if old and old.why is why else now
    return entry._replace(state=State.HELD, why=why, since=since, until=0)
