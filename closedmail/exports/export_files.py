"""Write exports to disk: a target renders the generation in force, and its files are put in place."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from closedmail.core.model import Config
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, Target
from closedmail.files import make_folder, replace_file
from closedmail.store.snapshot import Snapshot
from closedmail.sync.rules import archived_rules
from closedmail.words import iso

_BATCH = 1 << 16  # bytes written at a time


def published_generation(snapshot: Snapshot, config: Config) -> PublishedGeneration:
    """Return the generation in force. The networks' DNS servers are those of its own configuration, as its rules are.

    Raises ClosedmailError where that can't be read any more.
    """
    manifest = snapshot.manifest
    archived = snapshot.archived(snapshot.generation)
    rules = archived_rules(archived, config, snapshot.generation) if archived else config
    return PublishedGeneration(
        generation=manifest.generation,
        published_at=iso(manifest.published_at),
        rules=manifest.rules,
        own=snapshot.own,
        records=snapshot.records,
        entry=snapshot.entry,
        closed=manifest.closed,
        trusted_clients=manifest.trusted_clients,
        exempt_sasl=manifest.exempt_sasl,
        dns_servers={network.name: network.dns_servers for network in rules.networks if network.dns_servers},
    )


def chunks(target: Target, lines: Iterable[str]) -> Iterator[bytes]:
    """Encode lines as bytes, many at a time."""
    gathered: list[str] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= _BATCH:
            yield _joined(gathered, target)
            gathered, size = [], 0
    if gathered:
        yield _joined(gathered, target)


def _joined(lines: list[str], target: Target) -> bytes:
    return "".join(line + target.newline for line in lines).encode()


def write_export(target: Target, published: PublishedGeneration, request: ExportRequest, path: Path) -> list[Path]:
    """Write an export to a file, or to the files of a folder; return the paths that have changed.

    Each file is written aside and renamed; one with the same content is left as it is. Raises OSError.
    """
    place = str(path.absolute()) if target.folder else ""
    files = target.render(published, replace(request, place=place))
    if target.folder:
        make_folder(path)
    places = [(path / file.name if target.folder else path, file) for file in files]
    return [place for place, file in places if replace_file(place, chunks(target, file.lines), unless_same=True)]
