"""What a target is: a name, the forms that it has, and a pure function from an edition to files."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from closedmail.exports.edition import Edition

Form = Literal["mx", "forward"]


@dataclass(frozen=True, slots=True)
class File:
    """A file of an export: its name ("" for the only one), and its lines, without line ends, made when asked for."""

    name: str
    lines: Iterable[str]


@dataclass(frozen=True, slots=True)
class Request:
    """How an export is wanted: of a DNS target which form, and the folder in which its files will lie ("" for none)."""

    form: Form = "mx"
    place: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """`title` is what `--help` says of it. `folder` tells that it is several files. `newline` ends each line.

    `render` raises `errors.ClosedmailError` for what no file of the kind can say.
    """

    title: str
    render: Callable[[Edition, Request], list[File]]
    folder: bool = False
    forms: tuple[Form, ...] = ("mx",)
    newline: str = "\n"
