"""Where the daemons listen: what doctor makes of the sockets that are configured, and of the machine around them."""

import pwd
from pathlib import Path

import pytest

from closedmail.config import parse
from closedmail.core.model import Config
from closedmail.doctor import listening_state
from closedmail.doctor.checks.listening import MILTER_UNIT, POLICYD_UNIT, Listening, listening_findings
from closedmail.doctor.listening_state import look_at_listening
from closedmail.programs import FinishedProgram, ProgramError

BOTH = frozenset({POLICYD_UNIT, MILTER_UNIT})


def configured(tables: str) -> Config:
    return parse(f'[gateway]\nown_domains = ["city.example"]\n[postfix]\n{tables}', "/etc/closedmail/closedmail.toml")


# Tables of the configuration, the surroundings, and what is found: id and key.
CASES: dict[str, tuple[str, Listening, list[tuple[str, str]]]] = {
    "UNIX sockets alone": ("", Listening(("maria",), BOTH), []),
    "loopback": ('[policyd]\nlisten = ["inet:127.0.0.1:10040", "inet:[::1]:10040"]', Listening((), BOTH), []),
    "localhost": ('[milter]\nlisten = ["inet:localhost:8891"]', Listening((), BOTH), []),
    "everywhere": (
        '[policyd]\nlisten = ["inet:0.0.0.0:10040"]\nmetrics_listen = "inet:[::]:9810"\n'
        '[milter]\nlisten = ["inet:[::]:8891"]',
        Listening(),
        [
            *(("listen-everywhere", key) for key in ("policyd.listen", "policyd.metrics_listen", "milter.listen")),
        ],
    ),
    "everywhere, and the unit lets nobody in": (
        '[policyd]\nmetrics_listen = "inet:0.0.0.0:9810"',
        Listening((), BOTH),
        [("unit-address", "policyd.metrics_listen")],
    ),
    "an address of the network": (
        '[policyd]\nlisten = ["inet:192.0.2.7:10040"]\n[milter]\nlisten = ["inet:mail.city.example:8891"]',
        Listening((), frozenset({MILTER_UNIT})),
        [("unit-address", "milter.listen")],
    ),
    "other users": (
        '[policyd]\nlisten = ["inet:127.0.0.1:10040"]\n[milter]\nlisten = ["inet:[::1]:8891"]',
        Listening(("joe", "maria")),
        [("listen-shared", "policyd.listen")],
    ),
    "other users, and metrics alone": (
        '[policyd]\nmetrics_listen = "inet:127.0.0.1:9810"',
        Listening(("maria",)),
        [],
    ),
}


@pytest.mark.parametrize(("tables", "listening", "expected"), CASES.values(), ids=CASES)
def test_what_is_found(tables: str, listening: Listening, expected: list[tuple[str, str]]) -> None:
    found = list(listening_findings(configured(tables), listening))
    assert [(item.id, item.text.split()[0]) for item in found] == expected
    assert {item.severity for item in found} <= {"warning"}


def test_few_names_are_named() -> None:
    config = configured('[policyd]\nlisten = ["inet:127.0.0.1:10040"]')
    (finding,) = listening_findings(config, Listening(("a", "b", "c", "d")))
    assert "(a, b, c, …)" in finding.text


ACCOUNTS = [
    ("root", 0, "/bin/bash"),
    ("sync", 4, "/bin/sync"),
    ("postgres", 120, "/bin/bash"),
    ("maria", 1000, "/bin/bash"),
    ("ftp", 1001, "/usr/sbin/nologin"),
    ("gone", 1002, "/bin/false"),
    ("joe", 1003, "/bin/zsh"),
    ("nobody", 65534, "/bin/sh"),
]
TCP = '[policyd]\nlisten = ["inet:192.0.2.7:10040"]'


def test_who_can_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [pwd.struct_passwd((name, "x", uid, uid, "", "/", shell)) for name, uid, shell in ACCOUNTS]
    monkeypatch.setattr(pwd, "getpwall", lambda: accounts)
    assert look_at_listening(configured(TCP)).users == ("joe", "maria")
    assert look_at_listening(configured("")) == Listening()


LOCAL = "127.0.0.0/8 ::1/128"
# What systemctl shows, None where it fails; and whether the unit lets this machine alone connect.
SHOWN = [
    (f"IPAddressAllow={LOCAL}\nIPAddressDeny=::/0 0.0.0.0/0\n", True),
    ("IPAddressAllow=\nIPAddressDeny=::/0 0.0.0.0/0\n", True),
    (f"IPAddressAllow=192.0.2.0/24 {LOCAL}\nIPAddressDeny=::/0 0.0.0.0/0\n", False),
    ("IPAddressAllow=::/0 0.0.0.0/0\nIPAddressDeny=::/0 0.0.0.0/0\n", False),
    (f"IPAddressAllow={LOCAL}\nIPAddressDeny=\n", False),
    ("IPAddressAllow=[unprintable]\nIPAddressDeny=::/0\n", False),
    ("", False),
    (None, False),
]


@pytest.mark.parametrize(("shown", "closed"), SHOWN)
def test_whom_a_unit_lets_in(monkeypatch: pytest.MonkeyPatch, shown: str | None, closed: bool) -> None:
    def run(command: list[str], **_: object) -> FinishedProgram:
        assert command[-1] == POLICYD_UNIT
        if shown is None:
            raise ProgramError(command, 1, "no systemd")
        return FinishedProgram(command, 0, shown.encode(), b"")

    monkeypatch.setattr(listening_state, "run", run)
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    assert look_at_listening(configured(TCP)).closed_units == ({POLICYD_UNIT} if closed else set())
