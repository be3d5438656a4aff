"""Requests of a Postfix 3.7, as they came: tests/requests, one a file, named after mail and protocol state."""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "requests"


@cache
def recorded() -> dict[str, bytes]:
    """The requests by name, each with its empty line."""
    found = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.txt"))}
    assert found, FOLDER
    return found


def altered(request: bytes, **attributes: str | bytes) -> bytes:
    """The request with other values for attributes that it has."""
    lines = request.split(b"\n")
    for name, value in attributes.items():
        start = name.encode() + b"="
        (at,) = (at for at, line in enumerate(lines) if line.startswith(start))
        lines[at] = start + (value.encode() if isinstance(value, str) else value)
    return b"\n".join(lines)
