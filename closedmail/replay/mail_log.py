"""Parse the lines of a mail log that Postfix's smtpd and qmgr wrote: time, host, service, process, text.

Three formats of a line are known: classic syslog (`Nov 24 03:00:00 host postfix/smtpd[12]: …`, also what
`journalctl -o short` and Postfix's own `maillog_file` write), RFC 3339 (`2026-11-24T03:00:00.123456+01:00 host …`, also
`journalctl -o short-iso`), and the entries of `journalctl -o export` (systemd's JOURNAL_EXPORT_FORMATS). The head of a
line is written by the machine; all after `]: ` is Postfix's, and may quote a stranger.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from closedmail.words import iso

# Bytes of a line. Postfix's own have 2,000 at most (msg_output.c) and a sender of 2,048; what is longer is no line.
LONGEST_LINE = 65536


class Line(NamedTuple):
    """One line of smtpd or qmgr. `tag` is the syslog name (`postfix/submission`); `time` as the log writes it."""

    time: str
    host: bytes
    tag: bytes
    program: bytes
    pid: bytes
    text: bytes


_CLASSIC = rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?"
_RFC3339 = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"
_SPEAKER = rb"([^\s\[\]]{1,255})/(smtpd|[on]?qmgr)"
_LINE = re.compile(rb"(%b|%b) (?:(\S+) )?%b\[(\d+)\]: (?:\[ID \d+ \S+\] )?(.*)" % (_CLASSIC, _RFC3339, _SPEAKER))
_TIME = re.compile(rb"(?:%b|%b)(?= \S)|__REALTIME_TIMESTAMP=\d{1,17}(?=\n)" % (_CLASSIC, _RFC3339))
_IDENTIFIER = re.compile(_SPEAKER)
# A field's name of the export format; no line of the others begins so.
_FIELD = re.compile(rb"\n*[A-Z_][A-Z0-9_]{0,63}[=\n]")


def is_export(head: bytes) -> bool:
    """Check whether a log begins as `journalctl -o export` writes it."""
    return _FIELD.match(head) is not None


def first_time(head: bytes) -> str | None:
    """Find the first time at the beginning of a line, in the beginning of a log; None where it is not a log."""
    for line in re.finditer(rb"^.*\n?", head, re.MULTILINE):
        found = _TIME.match(line[0])
        if found:
            return found[0].decode("ascii")
    return None


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """Read the lines of smtpd and qmgr in a syslog file; skip all others."""
    match = _LINE.fullmatch
    while raw := file.readline(LONGEST_LINE):
        if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
            _skip_line(file)
            continue
        found = match(raw.rstrip(b"\r\n"))
        if found:
            time, host, tag, program, pid, text = found.groups()
            yield Line(time.decode("ascii"), host or b"", tag, program, pid, text)


def read_export(file: BinaryIO) -> Iterator[Line]:
    """Read the lines of smtpd and qmgr in the output of `journalctl -o export`, a last entry cut short included."""
    fields: dict[bytes, bytes] = {}
    while raw := file.readline(LONGEST_LINE):
        if raw == b"\n":
            yield from _entry(fields)
            fields.clear()
            continue
        name, equals, value = raw.partition(b"=")
        if not raw.endswith(b"\n"):
            _skip_line(file)
        elif not equals:
            value = _binary(file)
            name = name[:-1]
        else:
            value = value[:-1]
        if name in _WANTED:
            fields[name] = value
    yield from _entry(fields)


_WANTED = frozenset(
    (b"MESSAGE", b"SYSLOG_IDENTIFIER", b"SYSLOG_PID", b"_PID", b"_HOSTNAME", b"__REALTIME_TIMESTAMP"),
)


def _entry(fields: dict[bytes, bytes]) -> Iterator[Line]:
    speaker = _IDENTIFIER.fullmatch(fields.get(b"SYSLOG_IDENTIFIER", b""))
    text = fields.get(b"MESSAGE", b"")
    if speaker and text and b"\n" not in text:
        pid = fields.get(b"SYSLOG_PID") or fields.get(b"_PID", b"")
        time = export_time(fields.get(b"__REALTIME_TIMESTAMP", b""))
        yield Line(time, fields.get(b"_HOSTNAME", b""), speaker[1], speaker[2], pid, text)


def export_time(microseconds: bytes) -> str:
    """Render the time of an entry as RFC 3339 in UTC; "" where it has none."""
    if not microseconds.isdigit() or len(microseconds) > 17:  # that is the year 5138
        return ""
    return iso(int(microseconds) // 1_000_000)


def _binary(file: BinaryIO) -> bytes:
    """Read a binary field: 64 bits of length, little-endian, the bytes, a newline."""
    size = int.from_bytes(file.read(8), "little")
    if size <= LONGEST_LINE:
        value = file.read(size)
    else:
        value = b""
        while size > 0 and (part := file.read(min(size, LONGEST_LINE))):
            size -= len(part)
    file.read(1)
    return value


def _skip_line(file: BinaryIO) -> None:
    while (part := file.readline(LONGEST_LINE)) and not part.endswith(b"\n"):
        pass
