"""What became of the fetches: `sync.json` in the state directory, one entry a network.

It is a log with the validators of the next conditional request, not the truth about what is in force (that is the
policy store): a lost or broken file costs one full fetch.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from closedmail.core.model import Source
from closedmail.lists.fetch import Validators
from closedmail.publish.files import replace_file

_FILE = "sync.json"


@dataclass(slots=True)
class FetchRecord:
    """`fetched_at` is the last success of the transfer itself (Unix seconds, 0: never), `attempted_at` the last try.

    `result`, `code` and `reason` are of the last sync. The validators belong to the list in force, never to a refused
    one: a refused list is fetched again. `place` tells from where they are: elsewhere they say nothing.
    """

    fetched_at: int = 0
    attempted_at: int = 0
    result: str = ""
    code: str | None = None
    reason: str = ""
    place: str = ""
    validators: dict[str, Any] = field(default_factory=dict)
    signature_validators: dict[str, Any] = field(default_factory=dict)

    def keep(self, source: Source, validators: Validators, signature_validators: Validators) -> None:
        """Note the validators of list and detached signature, which are in force now."""
        self.place = _place(source)
        self.validators, self.signature_validators = validators.to_dict(), signature_validators.to_dict()

    def previous(self, source: Source) -> tuple[Validators, Validators]:
        """The validators of list and detached signature; none where those known are of another source."""
        if self.place != _place(source):
            return Validators(), Validators()
        return Validators.from_dict(self.validators), Validators.from_dict(self.signature_validators)


def read_log(state_dir: Path) -> dict[str, FetchRecord]:
    """All entries; none where the file is missing or broken."""
    try:
        data = json.loads((state_dir / _FILE).read_bytes())
        return {str(name): _record(entry) for name, entry in data["networks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_log(state_dir: Path, log: dict[str, FetchRecord]) -> None:
    """Replace the file in one step. Raises OSError."""
    data = {"networks": {name: asdict(entry) for name, entry in log.items()}}
    replace_file(state_dir / _FILE, json.dumps(data, indent=1).encode(), 0o640)


def _record(entry: dict[str, Any]) -> FetchRecord:
    """An entry of the file. Raises one of the many errors of a value that is not what it should be."""
    empty = FetchRecord()
    record = FetchRecord(**{item.name: entry[item.name] for item in fields(FetchRecord) if item.name in entry})
    for name in ("fetched_at", "attempted_at", "result", "reason", "place"):
        if type(getattr(record, name)) is not type(getattr(empty, name)):
            raise TypeError(name)
    Validators.from_dict(record.validators)
    Validators.from_dict(record.signature_validators)
    return record


def _place(source: Source) -> str:
    """Where list and signature come from, as a digest: a URL may have a password in it."""
    return hashlib.sha256(f"{source.location}\n{source.signature}".encode()).hexdigest()
