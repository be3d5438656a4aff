"""Read a table that `sync` wrote back: which partners have a row in it, and of which generation it is."""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from closedmail.core.domain import DomainError, parse_key
from closedmail.core.hold_reason import Why
from closedmail.maps.postfix_transport import transport_value
from closedmail.routes.delivery import HELD, OWN
from closedmail.routes.sendmail_route import SHIELD, mailertable_value

_GENERATION = re.compile(r"# closedmail generation ([0-9]{1,9})\n?")
_PUBLISHED = re.compile(r"# Published (\S+) by closedmail .*\n?")
# Rows of keys that are no partner's: own domains, and a spelling that is another domain's, which stays with that one.
_NOBODYS = frozenset({SHIELD, transport_value(OWN), transport_value(HELD[Why.FOLDED])})
_HELD = frozenset(render(HELD[why]) for why in Why for render in (transport_value, mailertable_value))
_NO_SERVICE = ("error", "retry", "")


@dataclass(frozen=True, slots=True)
class StandingRows:
    """The partners' rows of a table: `rows` are their keys, each with the service of its value, "" where it names none.

    `held` are those of them whose mail waits, for a reason of ours. `generation` and `published` (Unix time) are those
    of its header, 0 where it has none.
    """

    generation: int = 0
    published: int = 0
    rows: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)


def parse_standing(lines: Iterable[str], own_rows: Container[str] = ()) -> StandingRows:
    """Parse the text of a transport table or mailertable. `own_rows` are keys of the administrator's own rows in it.

    A row of an U-label has one of its A-label beside it. What is no row of ours is left out.
    """
    generation, published, rows, held = 0, 0, dict[str, str](), set[str]()
    for line in lines:
        if line.startswith("#"):
            if found := _GENERATION.fullmatch(line):
                generation = int(found[1])
            elif found := _PUBLISHED.fullmatch(line):
                published = _seconds(found[1])
            continue
        key, tab, value = line.rstrip("\n").partition("\t")
        if not tab or not key.isascii() or value in _NOBODYS or key in own_rows:
            continue
        try:
            name = parse_key(key)
        except DomainError:
            continue
        service = value.partition(":")[0]
        rows[name] = "" if service in _NO_SERVICE else service
        if value in _HELD:
            held.add(name)
    return StandingRows(generation, published, rows, held)


def _seconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return 0
