"""What became of the fetches: `sync.json` in the state directory, one entry a network.

It is a log with the validators of the next conditional request, not the truth about what is in force (that is the
policy store): a lost or broken file costs one full fetch.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from closedmail.lists.fetch import Validators
from closedmail.publish.files import replace_file

_FILE = "sync.json"


@dataclass(slots=True)
class FetchRecord:
    """`fetched_at` is the last success of the transfer itself (Unix seconds, 0: never), `attempted_at` the last try.

    `result`, `code` and `reason` are of the last sync. The validators belong to the list in force, never to a refused
    one: a refused list is fetched again.
    """

    fetched_at: int = 0
    attempted_at: int = 0
    result: str = ""
    code: str | None = None
    reason: str = ""
    validators: dict[str, Any] = field(default_factory=dict)
    signature_validators: dict[str, Any] = field(default_factory=dict)

    def previous(self) -> tuple[Validators, Validators]:
        """The validators of list and detached signature."""
        return Validators.from_dict(self.validators), Validators.from_dict(self.signature_validators)


def read_log(state_dir: Path) -> dict[str, FetchRecord]:
    """All entries; none where the file is missing or broken."""
    known = {item.name for item in fields(FetchRecord)}
    try:
        data = json.loads((state_dir / _FILE).read_bytes())
        return {
            str(name): FetchRecord(**{key: value for key, value in entry.items() if key in known})
            for name, entry in data["networks"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_log(state_dir: Path, log: dict[str, FetchRecord]) -> None:
    """Replace the file in one step. Raises OSError."""
    data = {"networks": {name: asdict(entry) for name, entry in log.items()}}
    replace_file(state_dir / _FILE, json.dumps(data, indent=1).encode(), 0o640)
