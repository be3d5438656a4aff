"""One mail log in each of the forms that `replay` reads, made from lines as Postfix's maillog_file has them."""

import re
import time
from collections.abc import Iterable

_LINE = re.compile(r"(\w{3} [ \d]\d \d\d:\d\d:\d\d) (\S+) (\S+)\[(\d+)\]: (.*)", re.DOTALL)
_YEAR = 2026


def as_classic(lines: Iterable[str]) -> bytes:
    """As it is."""
    return _encoded("".join(f"{line}\n" for line in lines))


def as_rfc3339(lines: Iterable[str]) -> bytes:
    """As rsyslog writes it on Debian 12."""
    return _encoded(
        "".join(
            f"{time.strftime('%Y-%m-%dT%H:%M:%S', stamp)}.123456+01:00 {host} {speaker}[{pid}]: {text}\n"
            for stamp, host, speaker, pid, text in _split(lines)
        )
    )


def as_export(lines: Iterable[str]) -> bytes:
    """As `journalctl -o export` writes it: binary where the text is more than printable ASCII."""
    entries = []
    for number, (stamp, host, speaker, pid, text) in enumerate(_split(lines)):
        data = _encoded(text)
        message = b"MESSAGE=" + data
        if not data.isascii():
            message = b"MESSAGE\n" + len(data).to_bytes(8, "little") + data
        entries.append(
            f"__CURSOR=s=0;i={number:x}\n__REALTIME_TIMESTAMP={int(time.mktime(stamp))}000000\n_HOSTNAME={host}\n"
            f"SYSLOG_IDENTIFIER={speaker}\nSYSLOG_PID={pid}\nPRIORITY=6\n".encode()
            + message
            + b"\n_COMM=postfix\n\n"
        )
    return b"".join(entries)


def _split(lines: Iterable[str]) -> Iterable[tuple[time.struct_time, str, str, str, str]]:
    for line in lines:
        found = _LINE.fullmatch(line)
        assert found, line
        yield time.strptime(f"{_YEAR} {found[1]}", "%Y %b %d %H:%M:%S"), found[2], found[3], found[4], found[5]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
