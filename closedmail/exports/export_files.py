"""Write exports to disk: a target renders the generation in force, and its files are put in place."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from closedmail.core.model import Config
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import Target
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


def write_files(folder: Path, files: Iterable[tuple[str, str]]) -> list[Path]:
    """Write the files of an export, by name, into a folder; gives the paths that have changed.

    Each file is written aside and renamed; one with the same content is left as it is. Raises OSError.
    """
    make_folder(folder)
    places = [(folder / name, text) for name, text in files]
    return [place for place, text in places if replace_file(place, [text.encode()], unless_same=True)]
