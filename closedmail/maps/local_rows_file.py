"""Read the files with the administrator's own rows of Sendmail's tables (`own_mailertable`, `own_access`)."""

from dataclasses import dataclass, field
from pathlib import Path

from closedmail.core.model import SendmailMaps
from closedmail.errors import ConfigError
from closedmail.maps.local_rows import LocalRowError, parse_local_rows


@dataclass(frozen=True, slots=True)
class LocalRows:
    """Both files as they are now, by folded keys; empty where none is named."""

    mailertable: dict[str, str] = field(default_factory=dict)
    access: dict[str, str] = field(default_factory=dict)


def read_local_rows(sendmail: SendmailMaps | None) -> LocalRows:
    """Read both files. Raises ConfigError for one that can't be read, or that makemap would refuse."""
    if sendmail is None:
        return LocalRows()
    return LocalRows(
        _read("sendmail.own_mailertable", sendmail.own_mailertable), _read("sendmail.own_access", sendmail.own_access)
    )


def _read(key: str, path: str) -> dict[str, str]:
    if not path:
        return {}
    try:
        with Path(path).open("rb") as lines:
            return parse_local_rows(lines)
    except OSError as error:
        raise ConfigError(key, f"{path}: {error.strerror}; fix that, or remove the key") from None
    except LocalRowError as error:
        raise ConfigError(key, f"{path}: {error}; fix the line") from None
