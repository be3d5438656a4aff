"""Lines of a mail log in their three ways of being written, and whatever else a file may hold."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.replay import mail_log
from closedmail.replay.mail_log import LONGEST_LINE, Line, export_time, first_time, is_export, read_export, read_lines

assert samples  # its hypothesis profile

CLASSIC, ISO = "Nov 24 03:00:00", "2026-11-24T03:00:00.123456+01:00"
SAID = b"connect from unknown[192.0.2.1]"


def plain(*lines: str | bytes) -> list[Line]:
    data = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
    return list(read_lines(io.BytesIO(data)))


@pytest.mark.parametrize(
    "time",
    [
        CLASSIC,
        "Nov  4 03:00:00",
        "Nov 24 03:00:00.123456",
        ISO,
        "2026-11-24T03:00:00Z",
        "2026-11-24T03:00:00+0100",
    ],
)
def test_times(time: str) -> None:
    line = f"{time} gw postfix/smtpd[12]: {SAID.decode()}"
    assert plain(line) == [Line(time, b"gw", b"postfix", b"smtpd", b"12", SAID)]
    assert first_time(f"-- Logs begin at Tue\n{line}\n".encode()) == time
    assert not is_export(line.encode())


@pytest.mark.parametrize(
    ("speaker", "tag", "program"),
    [
        ("postfix/smtpd", b"postfix", b"smtpd"),
        ("postfix-in/smtpd", b"postfix-in", b"smtpd"),
        ("postfix/submission/smtpd", b"postfix/submission", b"smtpd"),
        ("postfix/qmgr", b"postfix", b"qmgr"),
        ("postfix/oqmgr", b"postfix", b"oqmgr"),
    ],
)
def test_speakers(speaker: str, tag: bytes, program: bytes) -> None:
    (line,) = plain(f"{CLASSIC} gw {speaker}[12]: {SAID.decode()}")
    assert (line.tag, line.program) == (tag, program)


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"{CLASSIC} gw postfix/cleanup[12]: x",
        f"{CLASSIC} gw postfix/smtp[12]: x",
        f"{CLASSIC} gw smtpd[12]: x",
        f"{CLASSIC} gw postfix/smtpd: x",
        f"{CLASSIC} gw sshd[1]: Invalid user postfix/smtpd[12]: x",
        f"{CLASSIC} gw dovecot: x {CLASSIC} gw postfix/smtpd[12]: x",
        f" {CLASSIC} gw postfix/smtpd[12]: x",
        "nov 24 03:00:00 gw postfix/smtpd[12]: x",
    ],
)
def test_other_lines(line: str) -> None:
    assert plain(line, f"{CLASSIC} gw postfix/smtpd[1]: y") == [Line(CLASSIC, b"gw", b"postfix", b"smtpd", b"1", b"y")]


def test_without_a_host_and_with_what_else_syslogs_add() -> None:
    assert plain(f"{CLASSIC} postfix/smtpd[12]: x")[0].host == b""
    assert plain(f"{CLASSIC} gw postfix/smtpd[12]: [ID 197553 mail.info] x\r")[0].text == b"x"


def test_a_line_without_end_costs_no_memory() -> None:
    flood = CLASSIC.encode() + b" gw postfix/smtpd[1]: " + b"x" * (3 * LONGEST_LINE)
    assert plain(flood, f"{CLASSIC} gw postfix/smtpd[1]: y")[0].text == b"y"


# The journal's export format


def entry(message: bytes = SAID, *, binary: bool = False, **fields: str) -> bytes:
    """One entry as journalctl writes it."""
    usual = {
        "__CURSOR": "s=0;i=1",
        "__REALTIME_TIMESTAMP": "1795510578000001",
        "_HOSTNAME": "gw",
        "SYSLOG_IDENTIFIER": "postfix/smtpd",
        "SYSLOG_PID": "12",
        "_PID": "13",
        **fields,
    }
    text = b"".join(f"{name}={value}\n".encode() for name, value in usual.items() if value)
    if binary:
        return text + b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n\n"
    return text + b"MESSAGE=" + message + b"\n\n"


def exported(*entries: bytes) -> list[Line]:
    return list(read_export(io.BytesIO(b"".join(entries))))


@pytest.mark.parametrize("binary", [False, True])
def test_export(binary: bool) -> None:
    data = entry(b"caf\xe9: x=y", binary=binary)
    assert exported(data, entry(b"z")) == [
        Line("2026-11-24T08:56:18Z", b"gw", b"postfix", b"smtpd", b"12", b"caf\xe9: x=y"),
        Line("2026-11-24T08:56:18Z", b"gw", b"postfix", b"smtpd", b"12", b"z"),
    ]
    assert is_export(data)
    assert first_time(data) == "__REALTIME_TIMESTAMP=1795510578000001"


def test_entries_that_are_none_of_ours() -> None:
    others = [entry(SYSLOG_IDENTIFIER=name) for name in ("", "sshd", "smtpd", "postfix/smtpd[1]", "postfix/smtp")]
    assert exported(*others, entry(b"a\nb", binary=True), b"\n\n", entry(b"y"))[0].text == b"y"
    assert len(exported(*others, entry(b"y"))) == 1


def test_a_binary_field_can_not_end_its_entry() -> None:
    forged = b"x\n\n" + entry(b"forged")
    secret = b"OTHER\n" + len(forged).to_bytes(8, "little") + forged + b"\n"
    assert [line.text for line in exported(secret + entry(b"y"))] == [b"y"]


def test_fields_too_long_are_passed_over() -> None:
    long = b"x" * (2 * LONGEST_LINE)
    fields = b"OTHER=" + long + b"\nMORE\n" + len(long).to_bytes(8, "little") + long + b"\n"
    assert [line.text for line in exported(fields + entry(b"y"))] == [b"y"]
    assert exported(b"OTHER\n" + b"\xff" * 8 + b"x") == []


def test_the_process_id_that_the_journal_knows_where_there_is_no_other() -> None:
    assert exported(entry(SYSLOG_PID=""))[0].pid == b"13"
    assert export_time(b"") == export_time(b"x") == export_time(b"9" * 30) == ""


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_nothing_raises(before: bytes, after: bytes) -> None:
    good = f"{CLASSIC} gw postfix/smtpd[1]: {SAID.decode()}\n".encode()
    for read in (read_lines, read_export):
        for data in (before, before + b"\n" + good + after, entry() + before, before + entry(binary=True) + after):
            assert all(isinstance(line, Line) for line in read(io.BytesIO(data)))
    assert Line(CLASSIC, b"gw", b"postfix", b"smtpd", b"1", SAID) in read_lines(io.BytesIO(before + b"\n" + good))
    first_time(before)
    mail_log.is_export(before)
