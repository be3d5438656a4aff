"""Senders that a Postfix was seen to queue, with what must be decided about them; kept in tests/senders.

`found.jsonl` has what was once decided wrongly, `recorded.jsonl` at least one of every way and encoding of the grammar.
A line to be added is what the differential test prints when it fails.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from closedmail.core.model import Rewriting
from closedmail.inbound.sender import SenderError
from support.senders.oracle import is_partner, whose
from support.senders.spellings import BASE, SETTINGS

FOLDER = Path(__file__).parents[2] / "senders"
FILES = ("found.jsonl", "recorded.jsonl")


@dataclass(frozen=True, slots=True)
class Row:
    """`sender` is the policy attribute, `queued` what stood in the queue file, both with surrogates for odd bytes.

    `checked` tells whether a partner's rule has to be asked: whose domain it is where it is somebody's, and how we
    decided where it is nobody's.
    """

    settings: str
    sender: str
    queued: str
    checked: bool

    def line(self) -> str:
        return json.dumps(asdict(self))


def rows(*files: str) -> list[Row]:
    return [Row(**json.loads(line)) for file in files or FILES for line in (FOLDER / file).read_text().splitlines()]


def rewriting(settings: str) -> Rewriting:
    """The settings of that name as a generation has them."""
    given = {**BASE, **SETTINGS[settings]}
    return Rewriting(
        swap_bangpath=given.get("swap_bangpath") != "no",
        allow_percent_hack=given.get("allow_percent_hack") != "no",
        append_at_myorigin=given.get("append_at_myorigin") != "no",
        myorigin=given["myorigin"].lower(),
        append_dot_mydomain=given.get("append_dot_mydomain") == "yes",
        mydomain=given["mydomain"].lower(),
    )


_REWRITINGS = {name: rewriting(name) for name in SETTINGS}


def wrong(some: Iterable[Row], queued_domains: Callable[[str, Rewriting], Iterable[str]]) -> list[Row]:
    """The rows about which a `queued_domains` leads to another decision."""
    return [row for row in some if _checked(row, queued_domains) != row.checked]


def _checked(row: Row, queued_domains: Callable[[str, Rewriting], Iterable[str]]) -> bool | None:
    try:
        return any(map(is_partner, queued_domains(row.sender, _REWRITINGS[row.settings])))
    except SenderError:
        return None


def contradicts(row: Row) -> bool:
    """Whether what a row wants is not what the oracle says of its queued sender."""
    return (whose(row.queued.encode("utf-8", "surrogateescape")), row.checked) in (
        ("partner", False),
        ("stranger", True),
    )
