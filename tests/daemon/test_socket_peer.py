"""Whose process answers on a socket: the kernel's tables, and real processes of other users."""

import os
import socket
from pathlib import Path

import pytest
from support.squatter import DUNNO, NOBODY, Squatter

from closedmail.daemon import socket_query
from closedmail.daemon.socket_peer import End, find_user, stranger
from closedmail.daemon.socket_query import SocketAnswer, ask_policy_service

# As the kernel writes them: the client's own entry, the server's, and others.
TCP = """\
   0: 0100007F:2739 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65534        0 101 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:2738 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 20 4 30 10 -1
   2: 0100007F:2738 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1234        0 103 1 0 20 4 30 10 -1
   3: 0100007F:2738 0100007F:C351 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 30 10 -1
   4: 00000000000000000000000001000000:2738 00000000000000000000000001000000:C352 01 0:0 00:0 0   77  0 104 1 0
   5: 0000000000000000FFFF00000100007F:2738 0000000000000000FFFF00000100007F:C353 01 0:0 00:0 0   78  0 105 1 0
   6: 00000000000000000000000000000000:273A 00000000000000000000000000000000:0000 0A 0:0 00:0 0   79  0 106 1 0
   7: 0100007F:273A 0100007F:C350 06 00000000:00000000 03:00000A59 00000000     0        0 0 3 0
"""
HERE, PORT = "127.0.0.1", 0x2738
CASES: dict[str, tuple[End, End, int | None]] = {
    "IPv4": ((HERE, PORT), (HERE, 0xC350), 1234),
    "another client": ((HERE, PORT), (HERE, 0xC359), None),
    "closed by its process": ((HERE, PORT), (HERE, 0xC351), None),
    "its listener": ((HERE, PORT + 1), (HERE, 0xC350), 65534),
    "closed by its process, and its listener": ((HERE, PORT + 2), (HERE, 0xC350), 79),
    "IPv6": (("::1", PORT), ("::1", 0xC352), 77),
    "IPv6 with a zone": (("::1%lo", PORT), ("::1", 0xC352), 77),
    "IPv4 at a socket of IPv6": ((HERE, PORT), (HERE, 0xC353), 78),
    "IPv4, mapped": ((f"::ffff:{HERE}", PORT), (f"::ffff:{HERE}", 0xC353), 78),
}


@pytest.mark.parametrize(("local", "remote", "user"), CASES.values(), ids=CASES)
def test_the_table(local: End, remote: End, user: int | None) -> None:
    assert find_user(TCP.splitlines(), local, remote, "little") == user


def test_the_other_order_of_bytes() -> None:
    line = "0: 7F000001:2738 7F000001:C350 01 0:0 00:0 0 1234 0 103"
    assert find_user([line], (HERE, PORT), (HERE, 0xC350), "big") == 1234


@pytest.mark.real("root")
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.66", "[::1]", "0.0.0.0", "[::]"])  # noqa: S104
def test_another_user_is_known(address: str) -> None:
    with Squatter(f"inet:{address}:0") as squatter:
        assert ask_policy_service(squatter.where) == SocketAnswer(DUNNO, NOBODY)


@pytest.mark.real("root")
def test_root_is_known_as_well() -> None:
    with Squatter("inet:127.0.0.1:0", user=0) as squatter:
        assert ask_policy_service(squatter.where) == SocketAnswer(DUNNO, 0)


@pytest.mark.real("root")
def test_one_who_hangs_up() -> None:
    """The kernel takes what is left of its connection for root's."""
    with Squatter("inet:127.0.0.1:0", then="hang up") as squatter:
        assert ask_policy_service(squatter.where) == SocketAnswer(DUNNO, NOBODY)


@pytest.mark.real("root")
def test_one_who_leaves_is_not_believed() -> None:
    """It depends on the moment whether it is known."""
    with Squatter("inet:127.0.0.1:0", then="leave") as squatter:
        assert ask_policy_service(squatter.where) in (SocketAnswer(DUNNO, NOBODY), SocketAnswer())


@pytest.mark.real("root")
def test_who_says_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_query, "_PATIENCE", 0.3)
    with Squatter("inet:127.0.0.1:0", answer=b"") as squatter:
        assert ask_policy_service(squatter.where) == SocketAnswer(b"", NOBODY)


def test_a_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_query, "_PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        assert ask_policy_service(f"unix:{tmp_path}/sock") == SocketAnswer(b"", tmp_path.stat().st_uid)


def test_who_is_a_stranger(tmp_path: Path) -> None:
    owner = tmp_path.stat().st_uid
    assert [stranger(user, str(tmp_path)) for user in (None, 0, owner, NOBODY, 12345)] == [
        *("", "", ""),
        "nobody",
        "number 12345",
    ]
    assert stranger(NOBODY, str(tmp_path / "missing")) == ""


@pytest.mark.real("root")
def test_who_may_write_the_counters_is_none(tmp_path: Path) -> None:
    (tmp_path / "counters").mkdir()
    assert stranger(NOBODY, str(tmp_path)) == "nobody"
    os.chown(tmp_path / "counters", NOBODY, NOBODY)
    assert stranger(NOBODY, str(tmp_path)) == ""
