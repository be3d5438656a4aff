"""Define the report of a sync: as values, as JSON and as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from closedmail.errors import Refused
from closedmail.mailertable.listing import SkippedLine
from closedmail.maps.own_rows import OwnRows
from closedmail.words import counted, iso, iso_or_none, printable

NOBODY_SIGNS = 'nobody signs this list (signature = "none"): whoever can change it reroutes mail'
_SHOWN = 10  # domains or lines that the summary names; --json has them all


@dataclass(slots=True)
class NetworkReport:
    """The report of one network.

    `domains`, `signed_at` (Unix seconds, 0: none) and `signer` are of what is in force afterwards.
    `partners` counts the `[partner]` tables that name it, `unsigned` is true if nobody signs its list.
    """

    title: str = ""
    unsigned: bool = False
    result: Literal["published", "unchanged", "refused"] = "unchanged"
    code: str | None = None
    reason: str = ""
    signed_at: int = 0
    signer: str = ""
    domains: int = 0
    partners: int = 0
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    changed: Sequence[str] = ()
    held: Sequence[str] = ()
    skipped: Sequence[SkippedLine] = ()
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the network's object of the public interface; `notes` are ours."""
        return {
            "result": self.result,
            "code": self.code,
            "reason": self.reason,
            "signed_at": iso_or_none(self.signed_at),
            "signer": self.signer or None,
            "domains": self.domains,
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": list(self.changed),
            "held": list(self.held),
            "skipped": [skipped.to_json() for skipped in self.skipped],
            "notes": list(self.notes),
        }


@dataclass(slots=True)
class SyncReport:
    """The report of a whole run.

    `generation` is the number in force afterwards, None where there is none. `set_aside` is the sentence that the
    file's rules are not in force since a rollback, `unguarded` that Postfix takes unusual spellings of recipients.
    `failure` is what stopped the whole run (`busy`, `publish-failed`); every network of the run is refused by it then.
    `own_rows` are rows of the administrator's that stand in front of ours.
    """

    generation: int | None = None
    networks: dict[str, NetworkReport] = field(default_factory=dict)
    partners_held: Sequence[str] = ()
    partners_notes: Sequence[str] = ()
    set_aside: str = ""
    unguarded: str = ""
    published: bool = False
    dry_run: bool = False
    failure: Refused | None = None
    own_rows: OwnRows = field(default_factory=OwnRows)

    @property
    def refused(self) -> bool:
        """Whether anything was refused."""
        return self.failure is not None or any(report.result == "refused" for report in self.networks.values())

    def errors(self) -> Iterator[str]:
        """Yield one line for everything that was refused; what stopped the whole run comes once, not once a network."""
        if self.failure:
            yield f"{self.failure.code}: {self.failure.reason}"
        for name, report in self.networks.items():
            if report.result == "refused" and not (self.failure and report.reason == self.failure.reason):
                yield f"{name}: {report.code}: {report.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return the object of the public interface."""
        return {
            "generation": self.generation,
            "networks": {name: report.to_json() for name, report in self.networks.items()},
            "partners": {"held": list(self.partners_held), "notes": list(self.partners_notes)},
            "dry_run": self.dry_run,
            "own_rows": [row.to_json() for row in self.own_rows.rows],
        }

    def lines(self) -> Iterator[str]:
        """Write the summary for people."""
        for name, report in self.networks.items():
            yield from _network_lines(name, report)
        yield from _named("held", self.partners_held)
        yield from self.partners_notes
        yield from (f"Note: {sentence}." for sentence in self.own_rows.sentences())
        if self.set_aside:
            yield f"Note: {self.set_aside}."
        if self.unguarded:
            yield f"Note: {self.unguarded}."
        if self.generation is None:
            yield "No generation is in force."
        elif self.published:
            would = " would be" if self.dry_run else " is"
            yield f"Generation {self.generation}{would} in force."
        else:
            yield f"Nothing changed, generation {self.generation} stays in force."


def skipped_lines(skipped: Sequence[SkippedLine], most: int | None = None) -> Iterator[str]:
    """Write skipped lines for people."""
    for item in skipped[:most]:
        yield f"  line {item.line}: {item.reason}: {printable(item.text)}"
    if most is not None and len(skipped) > most:
        yield f"  … and {len(skipped) - most} more"


def _network_lines(name: str, report: NetworkReport) -> Iterator[str]:
    title = f"{report.title} ({name})" if report.title and report.title != name else name
    signed = f", signed {iso(report.signed_at)} by {report.signer}" if report.signed_at else ""
    if report.result == "refused":
        yield f"{title}: refused ({report.code}): {report.reason}"
        yield f"  what was in force stays: {counted(report.domains, 'domain')}{signed}"
    else:
        partners = f", {counted(report.partners, '[partner] table')}" if report.partners else ""
        yield f"{title}: {report.result}, {counted(report.domains, 'domain')}{partners}{signed}"
    for what in ("added", "removed", "changed", "held"):
        yield from _named(what, getattr(report, what))
    if report.unsigned:
        yield f"  note: {NOBODY_SIGNS}"
    if report.skipped:
        yield f"  skipped: {counted(len(report.skipped), 'line')}"
        yield from ("  " + line for line in skipped_lines(report.skipped, _SHOWN))
    yield from (f"  note: {note}" for note in report.notes)


def _named(what: str, keys: Sequence[str]) -> Iterator[str]:
    if keys:
        more = f", … and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        yield f"  {what}: {len(keys)}: {', '.join(keys[:_SHOWN])}{more}"
