"""Decide which indexed forms of a table of ours are made, so that no program of Postfix reads an old one.

Postfix reads the form that its configuration names, whatever `map_type` or `default_database_type` say: from 3.11 on
Debian's default is cdb, and main.cf still names `hash:`. A form that lies beside may be read by what nobody knows of.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

# The types of postmap(1) that have files of their own, and how these end. Of two with one ending, the first is usual.
SUFFIXES = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb", "dbm": ".pag", "sdbm": ".pag"}
TRANSPORT = "transport"

_TABLE = re.compile(r"([a-z0-9_]+):(/[^\s,{}]+)")


@dataclass(frozen=True, slots=True)
class MapTypes:
    """The types of our tables. `usual` is that of a table that nothing names, `named` are all others, by its name."""

    usual: str
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[str, ...]:
        """Return the types in which a table is made, at least one."""
        return self.named.get(name) or (self.usual,)


def tables_in(values: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Collect the tables that settings name, as (type, path): within `proxy:`, `unionmap:{…}` and restrictions too."""
    return frozenset((found[1], found[2]) for value in values for found in _TABLE.finditer(value))


def choose_types(
    asked: str,
    default: str,
    tables: Iterable[tuple[str, str]],
    folder: str,
    present: Collection[str] = (),
    known: Callable[[], Collection[str]] = tuple,
) -> MapTypes:
    """Choose the types of the tables in a folder.

    `asked` is map_type, `default` default_database_type, `tables` what Postfix's configuration names, `present` the
    names of the files in the folder. `known` gives the types that this Postfix can read, and is asked only where a file
    of another type is there.
    """
    named: dict[str, list[str]] = {}
    for kind, path in sorted(tables, key=lambda table: (table[0] != default, table)):
        above, _, name = path.rpartition("/")
        if kind in SUFFIXES and above.rstrip("/") == folder.rstrip("/"):
            named.setdefault(name, []).append(kind)
    # A table that nothing names yet gets the type of its neighbours.
    first = sorted(named, key=lambda name: (name != TRANSPORT, name))
    usual = asked or (named[first[0]][0] if first else default)
    made = {name: [asked, *types] if asked else types for name, types in named.items()}
    for name, kind in _beside(present):
        types = made.get(name, [usual])
        if SUFFIXES[kind] not in (SUFFIXES.get(other) for other in types) and kind in known():
            made[name] = [*types, kind]
    return MapTypes(usual, {name: tuple(dict.fromkeys(types)) for name, types in sorted(made.items())})


def _beside(present: Collection[str]) -> Iterator[tuple[str, str]]:
    """Find the forms that lie beside a text, as (table, type)."""
    for kind, suffix in SUFFIXES.items():
        for file in sorted(present):
            name = file.removesuffix(suffix)
            if name != file and name in present:
                yield name, kind
