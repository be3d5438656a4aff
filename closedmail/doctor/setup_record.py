"""Record what `closedmail setup` changes, before it does, so that it can be undone.

The record lies beside the state directory, in a folder of root's: whoever could write it could have root write
Postfix's configuration.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from closedmail.errors import ClosedmailError
from closedmail.files import make_folder, replace_file
from closedmail.folders import changeable_folder


@dataclass(slots=True)
class SetupStep:
    """One command; `command` is how one writes it in a shell, for people who read the record.

    `files` has the text of each file before and after it, `modes` the modes of a path, `units` whether a systemd unit
    was active and enabled before.
    """

    finding: str
    command: str
    files: dict[str, list[str]] = field(default_factory=dict)
    modes: dict[str, list[int]] = field(default_factory=dict)
    units: dict[str, list[bool]] = field(default_factory=dict)


def file_text(path: Path) -> str:
    """Read a file, ends of lines as they are: encoded again, the text is the file to the byte. Raises OSError."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


class SetupRecord:
    """All steps that were not undone, the oldest first."""

    def __init__(self, state_dir: Path) -> None:
        """Read the record, if there is one. Raises ClosedmailError."""
        self.path = state_dir.with_name(f"{state_dir.name}-setup") / "steps.json"
        self.steps: list[SetupStep] = []
        self._check_folder()
        try:
            self.steps = [SetupStep(**item) for item in json.loads(self.path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            raise ClosedmailError(f"{self.path}: the record of setup can't be read ({error}); move it away") from None

    def add(self, step: SetupStep) -> None:
        """Write a step down, before it is done. Raises OSError."""
        self.steps.append(step)
        self.save()

    def save(self) -> None:
        """Write all steps. Raises OSError."""
        make_folder(self.path.parent, 0o700)
        self._check_folder()
        data: list[dict[str, Any]] = [asdict(step) for step in self.steps]
        replace_file(self.path, [json.dumps(data, indent=1).encode()], 0o600)

    def remove(self) -> None:
        """Remove the record: all steps were undone. Raises OSError."""
        self.path.unlink(missing_ok=True)
        self.path.parent.rmdir()

    def _check_folder(self) -> None:
        folder = self.path.parent
        try:
            found = folder.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ClosedmailError(f"{folder}: {error.strerror}") from None
        if os.geteuid() == 0 and (other := changeable_folder(folder)):
            raise ClosedmailError(f"{other}: others than root may write it, and so the record of setup in {folder}")
        if found.st_uid != os.geteuid() or found.st_mode & 0o022 or not folder.is_dir() or folder.is_symlink():
            raise ClosedmailError(
                f"{folder}: others may write it, and so Postfix's configuration; make it root's alone"
            )
