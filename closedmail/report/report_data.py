"""Define the contents of a report, gathered and bounded: plain values. Times are Unix seconds, 0: never."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from closedmail.probe.probe_result import HostResult

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """A network: its status, and its rules in a few words."""

    name: str
    title: str
    state: str
    domains: int
    tables: int
    signed_at: int
    fetched_at: int
    age: int | None
    held: int
    rules: str


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """A `[partner]` table."""

    key: str
    network: str
    rules: str
    contact: str


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A held domain. `until` 0: until it is released, or until the reason is gone."""

    key: str
    network: str
    why: str
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A line of a list that was skipped."""

    network: str
    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """A generation that is kept. `networks` are, by name: domains, added, removed, changed."""

    number: int
    published_at: int
    reason: str
    in_force: bool
    networks: Mapping[str, tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class CountRow:
    """Mails of one partner, or of one network ("" for its partners together), by verdict and, refused, by reason."""

    network: str
    partner: str
    verdicts: Mapping[str, int]
    reasons: Mapping[str, int]

    @property
    def refused(self) -> int:
        """Mails that were refused, deferred, or would have been."""
        return sum(number for verdict, number in self.verdicts.items() if verdict != "accept")


@dataclass(frozen=True, slots=True)
class Some(Generic[T_co]):
    """The first of many."""

    rows: Sequence[T_co] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class ReportData:
    """A whole report. `probed_at` is when all hosts were probed last, as text, "" for never.

    `closedmail` is what its commands begin with.
    """

    generated_at: int
    own_domains: Sequence[str]
    state: str
    problems: Some[str]
    generation: int | None
    published_at: int
    networks: Sequence[NetworkRow] = ()
    partners: int = 0
    tables: Some[PartnerRow] = field(default_factory=Some)
    held: Some[HeldRow] = field(default_factory=Some)
    skipped: Some[SkippedRow] = field(default_factory=Some)
    history: Some[GenerationRow] = field(default_factory=Some)
    counted_since: int = 0
    counted_until: int = 0
    counts: Sequence[CountRow] = ()
    refusals: Some[CountRow] = field(default_factory=Some)
    hosts: Some[HostResult] = field(default_factory=Some)
    hosts_bad: int = 0
    probed_at: str = ""
    closedmail: str = "closedmail"
