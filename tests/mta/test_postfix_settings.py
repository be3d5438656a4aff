"""Postfix's own commands: whose failure is an error of theirs, not yet a publication that is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.network import put_program

from closedmail.core.model import Families, Rewriting
from closedmail.doctor import undo
from closedmail.errors import ClosedmailError, Refused
from closedmail.mta.client_settings import families_of
from closedmail.mta.postconf import inspect_postfix, parse_version
from closedmail.mta.postfix_client import PostfixClients
from closedmail.mta.postfix_config import is_no, is_yes
from closedmail.mta.postfix_settings import PostfixSettings, read_settings

CALLERS: dict[str, Callable[[str], object]] = {
    "settings": read_settings,
    "inspection": inspect_postfix,
    "clients": PostfixClients,
    "setup --undo": undo._options,
}


@pytest.mark.parametrize("caller", CALLERS)
def test_a_postconf_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caller: str) -> None:
    put_program(tmp_path / "postconf", "#!/bin/sh\necho postconf: fatal: no luck >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ClosedmailError, match="postconf: fatal: no luck") as caught:
        CALLERS[caller](str(tmp_path))
    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("ipv4", "ipv4"),
        (" ipv6 ", "ipv6"),
        ("all", "all"),
        ("ipv4,", "ipv4"),
        (",ipv4 ipv4", "ipv4"),
        ("ipv6, ipv6", "ipv6"),
        ("ipv4, ipv6", "all"),
        ("ipv6 ipv4", "all"),
        ("", "all"),
        ("ipv5", "all"),  # Postfix itself ends with an error
    ],
)
def test_ip_versions(value: str, found: Families) -> None:
    """A service's own setting counts for its mail alone."""
    assert families_of(value) == found
    options = {"closedmail-ndb/unix": {"inet_protocols": value}, "smtp/inet": {"inet_protocols": "ipv6"}}
    settings = PostfixSettings("hash", Rewriting(), frozenset(), options=options, families="ipv4")
    assert (settings.families_of("closedmail-ndb"), settings.families_of("smtp")) == (found, "ipv4")


@pytest.mark.parametrize("value", ["yes", "Yes", "YES", "yEs"])
def test_booleans(tmp_path: Path, value: str) -> None:
    """Any case counts, here as for Postfix: `swap_bangpath = Yes` has it queue another sender than it was told."""
    (tmp_path / "main.cf").write_text(f"compatibility_level = 3.6\nswap_bangpath = {value}\nmyorigin = city.example\n")
    (tmp_path / "master.cf").touch()
    assert read_settings(str(tmp_path)).rewriting.swap_bangpath is True
    assert (is_yes(value), is_no(value), is_yes(""), is_no(""), is_no("No"), is_no("off")) == (
        *(True, False, False, False, True, False),
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.7.11", (3, 7, 11)),
        ("3.11-20260101", (3, 11)),
        ("3.11-20260101-nonprod", (3, 11)),
        ("3.10-RC2", (3, 10)),
        ("4.0", (4, 0)),
        ("", ()),
        ("snapshot", ()),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    """Snapshots and release candidates are of the version that they lead to."""
    assert parse_version(text) == version
