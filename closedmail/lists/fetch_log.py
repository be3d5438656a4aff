"""Read and write the log of the fetches: `sync.json` in the state directory, one entry a network.

It is a log with the validators of the next conditional request, not the truth about what is in force (that is the
policy store): a lost or broken file costs one full fetch.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from closedmail.core.model import Source
from closedmail.files import read_json, replace_file
from closedmail.lists.fetch import Validators

_FILE = "sync.json"
_LONGEST = 32 << 20  # bytes: an entry has a few hundred


@dataclass(slots=True)
class FetchRecord:
    """A network's entry.

    `fetched_at` is the last success of the transfer itself (Unix seconds, 0: never), `attempted_at` the last try.

    `result`, `code` and `reason` are of the last sync. The validators belong to the list in force, never to a refused
    one: a refused list is fetched again. `place` is a digest of where they are from, `digest` that of the file
    (ListInForce's `raw_digest`): for another source or another list they say nothing. `newest_signed_at` is the newest
    signing time ever accepted, once more beside the policy store's: a store from a backup may know an older one.
    `holds_seen` is when a run that had verified the newest list first saw holds that are due,
    `ahead_seen` when one first saw times ahead of its clock (`sync/hold_ends.py`), 0 for none.
    """

    fetched_at: int = 0
    attempted_at: int = 0
    result: str = ""
    code: str | None = None
    reason: str = ""
    newest_signed_at: int = 0
    holds_seen: int = 0
    ahead_seen: int = 0
    place: str = ""
    digest: str = ""
    validators: dict[str, Any] = field(default_factory=dict)
    signature_validators: dict[str, Any] = field(default_factory=dict)

    def keep(self, source: Source, digest: str, validators: Validators, signature_validators: Validators) -> None:
        """Note the validators of list and detached signature, which are in force now."""
        self.place, self.digest = _place(source), digest
        self.validators, self.signature_validators = validators.to_dict(), signature_validators.to_dict()

    def previous(self, source: Source, digest: str) -> tuple[Validators, Validators]:
        """Return the validators of list and detached signature; none where they are of another source or list."""
        if (self.place, self.digest) != (_place(source), digest):
            return Validators(), Validators()
        return Validators.from_dict(self.validators), Validators.from_dict(self.signature_validators)


def read_log(state_dir: Path) -> dict[str, FetchRecord]:
    """Read all entries; none where the file is missing or broken."""
    try:
        data = read_json(state_dir / _FILE, _LONGEST)
        return {str(name): _record(entry) for name, entry in data["networks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_log(state_dir: Path, log: dict[str, FetchRecord]) -> None:
    """Replace the file in one step. Raises OSError."""
    data = {"networks": {name: asdict(entry) for name, entry in log.items()}}
    replace_file(state_dir / _FILE, [json.dumps(data, indent=1).encode()], 0o640)


def _record(entry: dict[str, Any]) -> FetchRecord:
    """Read an entry of the file. Raises TypeError, ValueError or AttributeError for what is no entry."""
    empty = FetchRecord()
    record = FetchRecord(**{item.name: entry[item.name] for item in fields(FetchRecord) if item.name in entry})
    for name in FetchRecord.__slots__:
        if name != "code" and type(getattr(record, name)) is not type(getattr(empty, name)):
            raise TypeError(name)
    Validators.from_dict(record.validators)
    Validators.from_dict(record.signature_validators)
    return record


def _place(source: Source) -> str:
    """Digest where list and signature come from; only a digest, since a URL may have a password in it."""
    return hashlib.sha256(f"{source.location}\n{source.signature}".encode()).hexdigest()
