"""The manual pages in docs/man, read from their mdoc(7) source as far as the tests compare it with the program."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "man"

_ESCAPES = {r"\(dq": '"', r"\(ti": "~", r"\(dd": "…", r"\&": "", "\\ ": " ", r"\en": "\\n", r"\e": "\\"}
_ESCAPE = re.compile("|".join(map(re.escape, sorted(_ESCAPES, key=len, reverse=True))))
_OPTION = re.compile(r"\bFl (\S+)(?: Ar (\S+))?")


@dataclass(frozen=True)
class Item:
    """One item of a list: its head and its body as source lines, and the headings (`.Sh`, `.Ss`) above it."""

    head: str
    body: tuple[str, ...]
    section: str
    subsection: str


class Page:
    """One page."""

    def __init__(self, path: Path) -> None:
        self.path, self.source = path, path.read_text("utf-8")
        self.lines = [line for line in self.source.splitlines() if not line.startswith('.\\"')]

    @cached_property
    def items(self) -> list[Item]:
        """All items of all lists, in their order; an inner list ends the body of the item around it."""
        found: list[tuple[str, list[str], str, str]] = []
        section = subsection = ""
        open_item = False
        for line in self.lines:
            macro, _, rest = line.partition(" ")
            if macro == ".Sh":
                section, subsection, open_item = rest, "", False
            elif macro == ".Ss":
                subsection, open_item = plain(rest), False
            elif macro == ".It":
                found.append((rest, [], section, subsection))
                open_item = True
            elif macro in (".Bl", ".El"):
                open_item = False
            elif open_item:
                found[-1][1].append(line)
        return [Item(head, tuple(body), where, below) for head, body, where, below in found]

    def section(self, name: str) -> list[str]:
        """The lines of a section (`.Sh`)."""
        inside, found = False, []
        for line in self.lines:
            if line.startswith(".Sh "):
                inside = line == f".Sh {name}"
            elif inside:
                found.append(line)
        return found

    def in_section(self, name: str) -> list[Item]:
        """The items of a section (`.Sh`)."""
        return [item for item in self.items if item.section == name]

    def words(self, name: str, macro: str = "Cm") -> set[str]:
        """The words that the items' heads of a section mark by a macro."""
        heads = [item.head for item in self.in_section(name) if item.head.startswith(f"{macro} ")]
        return {word for head in heads for word in head.split()[1:] if word != ","}

    def literal_blocks(self, name: str) -> list[str]:
        """The blocks of a section that are shown as they are."""
        blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", "\n".join(self.section(name)) + "\n", re.M | re.S)
        return [plain(block) for block in blocks]


def plain(text: str) -> str:
    """Source text without quotes around arguments and without escapes."""
    return _ESCAPE.sub(lambda found: _ESCAPES[found[0]], text.strip('"'))


def options(text: str) -> list[tuple[str, str]]:
    """The options in a line of source as (name with its dashes, word for the argument or "")."""
    found = [(f"-{name}", argument) for name, argument in _OPTION.findall(text)]
    return [(name, argument if argument not in (",", ".", "|") else "") for name, argument in found]


def quoted(body: tuple[str, ...]) -> dict[str, list[str]]:
    """What stands in `.Ql` in an item's body, by the word before it ("Postfix", "Keys", "Reason:")."""
    found: dict[str, list[str]] = {}
    label = ""
    for line in body:
        if line.startswith(".Ql "):
            literal = re.fullmatch(r'\.Ql (?:"([^"]*)"|(\S+))(?: [.,;])?', line)
            if label and literal:
                found.setdefault(label, []).append(plain(literal[1] or literal[2]))
        elif line != "and":
            label = line if line in ("Postfix", "Sendmail", "Keys", "Reason:") else ""
    return found
