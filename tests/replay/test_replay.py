"""`closedmail replay`: files of every kind, the report, the JSON, and what can go wrong."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemon import Output, closedmail, closedmail_inside
from support.gateway import Gateway, make_gateway
from support.mail_log import as_classic, as_export, as_rfc3339

RIGHT, WRONG = "192.0.2.1", "198.51.100.9"
CIPHER = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return make_gateway(tmp_path_factory.mktemp("replay"))


def mail(number: int, sender: str, address: str, tls: str = "", *, day: int = 24) -> list[str]:
    """The lines of one mail, as Postfix's own maillog_file has them."""
    peer, queue_id, pid = f"mx.example[{address}]", f"4jYc9b1lY2z{number:04}", 100 + number
    time = f"Nov {day} 03:{number % 60:02}:00 gw"
    said = [
        f"smtpd[{pid}]: connect from {peer}",
        *([f"smtpd[{pid}]: {tls} TLS connection established from {peer}: {CIPHER}"] if tls else []),
        f"smtpd[{pid}]: {queue_id}: client={peer}",
        f"cleanup[7]: {queue_id}: message-id=<{number}@mx.example>",
        f"qmgr[8]: {queue_id}: from=<{sender}>, size=333, nrcpt=1 (queue active)",
        f"qmgr[8]: {queue_id}: removed",
        f"smtpd[{pid}]: disconnect from {peer} ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
    ]
    return [f"{time} postfix/{line}" for line in said]


LINES = [
    *mail(1, "u@koeln.example", RIGHT),
    *mail(2, "u@koeln.example", RIGHT),
    *mail(3, "u@koeln.example", WRONG),
    *mail(4, "u@tls.example", RIGHT),
    *mail(5, "u@tls.example", RIGHT, "Anonymous"),
    *mail(6, "u@cert.example", RIGHT, "Trusted"),
    *mail(7, "u@off.example", WRONG),
    *mail(8, "u@a.land.example", "2001:db8::25"),
    *mail(9, "", WRONG),
    *mail(10, "u@stranger.example", WRONG),
    "Nov 24 03:11:00 gw postfix/smtpd[7]: NOQUEUE: reject: RCPT from mx[198.51.100.9]: 554 5.7.1 no; "
    "from=<u@koeln.example> to=<x@city.example> proto=ESMTP helo=<x>",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.write_bytes(as_classic(LINES))
    return path


def replay(gateway: Gateway, *arguments: str | Path) -> Output:
    return closedmail_inside("replay", *map(str, arguments), config=gateway.config)


def in_json(gateway: Gateway, *arguments: str | Path) -> dict[str, object]:
    found = replay(gateway, "--json", *arguments)
    assert (found.status, found.stderr) == (0, "")
    return found.json


def test_json(gateway: Gateway, log: Path) -> None:
    found = in_json(gateway, log)
    assert (found["messages"], found["generation"], found["refused"]) == (10, 1, 1)
    assert found["others"] == {"null-sender": 1, "not-listed": 1}
    assert found["configuration_changed"] is False
    partners = found["partners"]
    assert isinstance(partners, dict)
    counts = {key: (each["accept"], each["reject"], each["unknown"]) for key, each in partners.items()}
    assert counts == {
        "koeln.example": (2, 1, 0),
        "tls.example": (1, 1, 0),
        "cert.example": (0, 0, 1),
        "off.example": (0, 1, 0),
        ".land.example": (1, 0, 0),
    }
    koeln = partners["koeln.example"]
    assert koeln["network"] == "ndb"
    assert (koeln["clients"], koeln["allow_from"]) == ({RIGHT: 2, WRONG: 1}, [RIGHT, WRONG])
    assert (koeln["doubtful"], koeln["refused"]) == ([WRONG], 1)
    assert partners["off.example"]["mode"] == "off"


def test_the_words_for_people(gateway: Gateway, log: Path) -> None:
    said = replay(gateway, log)
    assert (said.status, said.stderr) == (0, "")
    assert said.stdout.split("\n\n")[0].splitlines() == [
        "10 mails received over SMTP from Nov 24 03:01:00 to Nov 24 03:11:00, judged by the rules of generation 1 as "
        "if all were enforced.",
        "Not in the name of a partner: not-listed 1, null-sender 1.",
        "Refused when they came, and not among these: 1 for good, 0 for now.",
    ]
    parts = {part.split(" ", 1)[0]: part for part in said.stdout.split("\n\n")[1:]}
    assert parts["koeln.example"].splitlines() == [
        "koeln.example (network ndb, mode enforce): 2 accepted, 1 would be refused under enforce",
        "  refused when they came: 1 for good, 0 for now",
        f"  would be refused: 1 for address from {WRONG}, the first 4jYc9b1lY2z0003 at Nov 24 03:03:00",
        f"  came from: {RIGHT} (2), {WRONG} (1)",
        "  this would let it in, forged mail included; ask the partner before you add it:",
        "    allow_from = [",
        f'       "{RIGHT}",  # 2 mails',
        f'    #  "{WRONG}",  # 1 mail: perhaps forged',
        "    ]",
    ]
    assert "1 cannot be judged by this log\n" in parts["cert.example"]
    assert "missing in this log: certificate 1; set smtpd_tls_loglevel = summary, peercert" in said.stdout
    assert "certificate: verified, with no more in this log" in parts["cert.example"]
    toml = parts["koeln.example"].partition("    allow_from")
    assert tomllib.loads("allow_from" + toml[2]) == {"allow_from": [RIGHT]}


def test_nothing_in_the_log(gateway: Gateway, tmp_path: Path) -> None:
    """An empty one, as after a rotation, and one of a quiet day."""
    quiet = tmp_path / "quiet"
    quiet.write_text("Nov 24 03:00:00 gw postfix/master[1]: daemon started\n")
    empty = tmp_path / "empty"
    empty.touch()
    for log in (quiet, empty):
        assert replay(gateway, log).stdout == "No mail that came over SMTP is in these logs.\n"
        found = in_json(gateway, log)
        assert (found["messages"], found["partners"]) == (0, {})


WAYS: dict[str, Callable[[list[str]], bytes]] = {"classic": as_classic, "rfc3339": as_rfc3339, "export": as_export}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "two gz": lambda data: gzip.compress(data[:2000]) + gzip.compress(data[2000:]),
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("way", WAYS)
def test_formats(gateway: Gateway, log: Path, tmp_path: Path, way: str, packed: str) -> None:
    """Recognized by content, not by name."""
    expected = in_json(gateway, log)
    path = tmp_path / "some.log"
    path.write_bytes(PACKED[packed](WAYS[way](LINES)))
    found = in_json(gateway, path)
    assert without_times(found) == without_times(expected)
    with path.open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "closedmail", "--config", gateway.config, "replay", "--json", "-"],
            stdin=stdin,
            capture_output=True,
            check=True,
        )
    assert without_times(json.loads(done.stdout)) == without_times(expected)


def without_times(found: object) -> object:
    if isinstance(found, dict):
        return {key: without_times(value) for key, value in found.items() if key not in ("first", "last", "time")}
    return [without_times(value) for value in found] if isinstance(found, list) else found


def test_rotated_logs_are_read_in_the_order_of_time(gateway: Gateway, tmp_path: Path) -> None:
    """A session goes on from one to the next, whatever they are called and in whatever order they are given."""
    lines = mail(1, "u@tls.example", RIGHT, "Anonymous")
    lines[3:] = [line.replace("Nov 24", "Nov 25") for line in lines[3:]]
    old, new = tmp_path / "mail.log.1.gz", tmp_path / "mail.log"
    for path, data in ((old, gzip.compress(as_classic(lines[:3]))), (new, as_classic(lines[3:]))):
        path.write_bytes(data)
    assert in_json(gateway, new, old)["messages"] == in_json(gateway, old, new)["messages"] == 1


def test_new_year_comes_after_december(gateway: Gateway, tmp_path: Path) -> None:
    """Classic syslog names no year: the file's own time says which."""
    lines = mail(1, "u@koeln.example", RIGHT)
    december = [line.replace("Nov 24 03", "Dec 31 23") for line in lines[:3]]
    january = [line.replace("Nov 24 03", "Jan  1 00") for line in lines[3:]]
    old, new = tmp_path / "old", tmp_path / "new"
    for path, data, written in ((old, december, 1798758000), (new, january, 1798848000)):
        path.write_bytes(as_classic(data))
        os.utime(path, (written, written))
    assert in_json(gateway, new, old)["messages"] == 1


# What can go wrong


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(as_classic(LINES * 50))[:-20], "cut short or damaged"),
        (lzma.compress(as_classic(LINES * 50))[:-40], "cut short or damaged"),
        (gzip.compress(as_classic(LINES))[:200] + b"\0" * 50, "cut short or damaged"),
        (b"\x1f\x8bno gzip at all", "cut short or damaged"),
        (b"\x28\xb5\x2f\xfd\0", "zstdcat"),
        (b"LPKSHHRH\0\0\0\0", "journalctl -o export"),
        (b"127.0.0.1 - - [24/Nov/2026:03:00:00] GET /\n", "not a mail log"),
        (b"\0" * 100, "not a mail log"),
    ],
)
def test_a_file_that_is_no_log(gateway: Gateway, tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(data)
    said = replay(gateway, path)
    assert said.status == 1
    assert said.error.startswith(f"{path}: ")
    assert words in said.error


def test_a_file_that_can_not_be_read(gateway: Gateway, tmp_path: Path) -> None:
    for path, words in ((tmp_path / "nowhere", "No such file"), (tmp_path, "Is a directory")):
        said = replay(gateway, path)
        assert said.status == 1
        assert said.error.startswith(f"{path}: {words}")


def test_standard_input_that_is_closed(gateway: Gateway) -> None:
    command: list[str | Path] = [sys.executable, "-m", "closedmail", "--config", gateway.config, "replay", "-"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("closedmail: error: standard input")


def test_without_a_generation(tmp_path: Path, log: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.configure()
    said = replay(gateway, log)
    assert (said.status, f"closedmail --config {gateway.config} sync" in said.error) == (1, True)


def test_usage(gateway: Gateway, log: Path) -> None:
    assert replay(gateway).status == 2
    assert replay(gateway, log, "--no-such-option").status == 2
    assert closedmail("replay", log, config=Path("/nowhere/closedmail.toml")).status == 2


def test_a_changed_configuration_is_said(tmp_path: Path, log: Path) -> None:
    gateway = make_gateway(tmp_path / "gateway")
    gateway.configure(inbound='mode = "report"\nallow_from = ["192.0.2.1"]')
    assert "configuration file has changed" in replay(gateway, log).stdout
    assert in_json(gateway, log)["configuration_changed"] is True
