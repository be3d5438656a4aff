"""Read Postfix's lists of domains (`mydestination`, `relay_domains`, `virtual_…_domains`) as match_list(3) does.

Items are names, `.name` for all below it, `/file` with more items, `type:table` whose keys count, `!item` for what is
not in the list.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from closedmail.core.partner_keys import domain_key
from closedmail.mta.restrictions import split_list


class Tables(Protocol):
    """An object that can read a table, or a file."""

    def table(self, table: str) -> Mapping[str, str] | None:
        """Read its rows, None where that is impossible."""


@dataclass(frozen=True, slots=True)
class Item:
    """A domain of such a list. `key` is `x` or `.x`.

    `literal` is its spelling in the list itself, "" where it comes from a file or a table (`source`).
    """

    key: str
    literal: str = ""
    source: str = ""


def read_domains(value: str, tables: Tables) -> Iterator[Item]:
    """Read all domains of a list that are known; names of one label and those of this machine are left out."""
    for text in split_list(value):
        if text.startswith("!"):
            continue
        if text.startswith("/") or re.match(r"[a-z0-9_]+:", text):
            for key in tables.table(text) or {}:
                found = domain_key(key)
                if found and not key.startswith("!"):
                    yield Item(found, source=text)
        elif found := domain_key(text):
            yield Item(found, literal=text)
