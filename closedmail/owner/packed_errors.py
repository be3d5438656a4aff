"""Errors of the child that reads, as JSON on their way to its parent."""

import json
from pathlib import Path
from typing import Any

from closedmail.errors import ClosedmailError, ConfigError, Refused, ServiceUserError, StoreError

_KINDS: dict[str, type[ClosedmailError]] = {"store": StoreError, "user": ServiceUserError}


def unreadable(state_dir: Path, why: str) -> ClosedmailError:
    """Make the error of a state directory that its owner can't read."""
    return StoreError(
        f"{state_dir} can't be read as its owner: {why}",
        f"something in it is broken; move {state_dir}/store away and run: {{closedmail}} sync",
    )


def pack_error(error: Exception) -> dict[str, Any]:
    """Make an object of any error."""
    if isinstance(error, ConfigError):
        return {"kind": "config", "text": error.fault}
    if isinstance(error, Refused):
        return {"kind": error.code, "text": error.reason}
    if isinstance(error, ClosedmailError):
        kind = next((name for name, each in _KINDS.items() if isinstance(error, each)), "error")
        return {"kind": kind, "text": error.fault, "remedy": error.remedy, "closedmail": error.closedmail}
    if isinstance(error, OSError) and error.errno is not None:
        return {"kind": "system", "text": error.strerror, "errno": error.errno, "file": str(error.filename or "")}
    return {"kind": "other", "text": f"{type(error).__name__}: {error}"}


def unpack_error(state_dir: Path, data: bytes) -> Exception:
    """Make the error again. Whatever the child is, what comes out is one of ours, or the system's."""
    try:
        fields = json.loads(data)
        kind, text = str(fields["kind"]), str(fields["text"])
        if kind == "config":
            return ConfigError("", text)
        if kind == "system":
            return OSError(int(fields["errno"]), text, str(fields["file"]) or None)
        if kind == "other":
            return unreadable(state_dir, text)
        if kind != "error" and kind not in _KINDS:
            return ClosedmailError(f"{kind}: {text}")
        error = _KINDS.get(kind, ClosedmailError)(text, str(fields["remedy"]))
        error.closedmail = str(fields["closedmail"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return unreadable(state_dir, "what was read makes no sense")
    return error
