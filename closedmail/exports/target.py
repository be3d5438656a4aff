"""Define a target: a name, its forms, and a pure function from a generation to files."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from closedmail.exports.published_generation import PublishedGeneration

Form = Literal["mx", "forward"]
# The options of targets beside the form, by their names on the command line.
Option = Literal["limit", "relay", "tls-name", "inbound-from", "scoped", "domain-secure"]


@dataclass(frozen=True, slots=True)
class File:
    """A file of an export: its name ("" for the only one), and its lines, without line ends, made when iterated."""

    name: str
    lines: Iterable[str]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The options of an export: of a DNS target its form, and the folder in which its files will be ("" for none).

    Of the Exchange targets: `limit` is the most entries of a connector (0: the target's own), `relays` are own relays,
    `tls_name` is the name in their certificate ("": the relay's), `inbound_from` are the addresses from which partners'
    mail comes by way of them; `scoped` selects mail flow rules, `domain_secure` for per-domain mutual TLS.
    """

    form: Form = "mx"
    place: str = ""
    limit: int = 0
    relays: tuple[str, ...] = ()
    tls_name: str = ""
    inbound_from: tuple[IPv4Network | IPv6Network, ...] = ()
    scoped: bool = False
    domain_secure: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One target. `title` is its line in `--help`. With `folder` it is several files. `newline` ends each line.

    `options` are those that it takes, `needed` those that it requires, `most` is the highest `limit`.

    `render` raises `errors.ClosedmailError` for what such a file can't express.
    """

    title: str
    render: Callable[[PublishedGeneration, ExportRequest], list[File]]
    folder: bool = False
    forms: tuple[Form, ...] = ("mx",)
    newline: str = "\n"
    options: tuple[Option, ...] = ()
    needed: tuple[Option, ...] = ()
    most: int = 0
