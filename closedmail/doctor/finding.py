"""Define a finding: what is wrong with a gateway, and the commands that fix it, as data."""

import shlex
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from closedmail.core.model import Config, PostfixMaps, config_option
from closedmail.doctor.finding_ids import FINDINGS, Phase, Severity

_DEFAULT_DIRECTORY = PostfixMaps().config_directory  # where postconf looks without -c


class Program(Enum):
    """The programs that fix something, and how their command lines begin.

    There are no others: setup runs fixes as root.
    """

    POSTCONF = ("postconf",)
    CHMOD = ("chmod",)
    CHGRP = ("chgrp",)
    ENABLE = ("systemctl", "enable", "--now")
    RESTART = ("systemctl", "restart")
    CLOSEDMAIL = ("closedmail",)


@dataclass(frozen=True, slots=True)
class Fix:
    """One command. `configuration` are the options that name the configuration that it is about (`-c FOLDER`).

    With `by_hand` it may cost what an administrator wants to keep: `setup --yes` leaves it alone.
    """

    program: Program
    arguments: tuple[str, ...]
    configuration: tuple[str, ...] = ()
    by_hand: bool = False

    @property
    def argv(self) -> tuple[str, ...]:
        """The command as it is run."""
        return (*self.program.value, *self.configuration, *self.arguments)

    @property
    def target(self) -> str:
        """The last argument: the path whose mode is changed, or the systemd unit."""
        return self.arguments[-1]

    def __str__(self) -> str:
        """Render the command as one types it in a shell."""
        return shlex.join(self.argv)

    @classmethod
    def postconf(cls, directory: str, *arguments: str) -> "Fix":
        """Change main.cf or master.cf in a configuration directory."""
        return cls(Program.POSTCONF, arguments, () if directory == _DEFAULT_DIRECTORY else ("-c", directory))

    @classmethod
    def chmod(cls, mode: str, path: str) -> "Fix":
        """Change the mode of a path."""
        return cls(Program.CHMOD, (mode, path))

    @classmethod
    def chgrp(cls, group: str, path: str) -> "Fix":
        """Change the group of a path."""
        return cls(Program.CHGRP, (group, path))

    @classmethod
    def start(cls, unit: str) -> "Fix":
        """Start a systemd unit, now and at each boot."""
        return cls(Program.ENABLE, (unit,))

    @classmethod
    def restart(cls, unit: str) -> "Fix":
        """Restart a systemd unit."""
        return cls(Program.RESTART, (unit,))

    @classmethod
    def closedmail(cls, config: Config, *arguments: str) -> "Fix":
        """Run closedmail with the same configuration file."""
        return cls(Program.CLOSEDMAIL, arguments, config_option(config.path))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `id` is stable, for scripts; `text` is a sentence.

    `fixes` are commands in their order, () where none can fix it. Made by `of`, which looks the rest up in `FINDINGS`.
    """

    id: str
    phase: Phase
    severity: Severity
    text: str
    fixes: tuple[Fix, ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        text: str,
        fixes: tuple[Fix, ...] = (),
        *,
        severity: Severity | None = None,
        by_hand: bool = False,
    ) -> "Finding":
        """Make a finding from an id of `FINDINGS`. Raises KeyError.

        `severity` is given where it is not the usual one, `by_hand` for all its fixes.
        """
        kind = FINDINGS[name]
        if by_hand:
            fixes = tuple(replace(fix, by_hand=True) for fix in fixes)
        return cls(name, kind.phase, severity or kind.severity, text, fixes)

    @property
    def by_hand(self) -> bool:
        """Whether an administrator has to decide."""
        return any(fix.by_hand for fix in self.fixes)

    @property
    def fix(self) -> tuple[str, ...]:
        """The commands as one types them in a shell, to be shown."""
        return tuple(map(str, self.fixes))

    def to_json(self) -> dict[str, Any]:
        """Make the object of the public interface."""
        return {"id": self.id, "severity": self.severity, "text": self.text, "fix": list(self.fix)}
