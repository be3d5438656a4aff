"""Sockets as WHERE, as libmilter and as Postfix spell them; what errors of WHERE say is in tests/config."""

import pytest

from closedmail.core.where import Where, parse_endpoint, parse_libmilter, parse_where, socket_path, split_service


@pytest.mark.parametrize(
    ("text", "where", "libmilter"),
    [
        ("unix:/run/a:b", Where(path="/run/a:b"), "unix:/run/a:b"),
        ("inet:127.0.0.1:10025", Where(host="127.0.0.1", port=10025), "inet:10025@127.0.0.1"),
        ("inet:[::1]:10025", Where(host="::1", port=10025), "inet6:10025@::1"),
        ("inet:localhost:0", Where(host="localhost"), "inet:0@localhost"),
    ],
)
def test_there_and_back(text: str, where: Where, libmilter: str) -> None:
    assert parse_where(text) == where
    assert str(where) == text
    assert where.libmilter() == libmilter
    assert parse_libmilter(libmilter) == text


@pytest.mark.parametrize(
    ("endpoint", "chrooted", "where"),
    [
        ("unix:private/policy", False, "unix:/q/private/policy"),
        ("unix:private/policy", True, "unix:/q/private/policy"),
        ("unix:/run/policy", False, "unix:/run/policy"),
        ("unix:/run/policy", True, "unix:/q/run/policy"),
        ("local:private/policy", False, "unix:/q/private/policy"),
        ("inet:127.0.0.1:10040", True, "inet:127.0.0.1:10040"),
        ("inet:[::1]:policy", False, "inet:[::1]:policy"),
        ("", False, ""),
    ],
)
def test_endpoints_of_postfix(endpoint: str, chrooted: bool, where: str) -> None:
    assert parse_endpoint(endpoint, "/q", chrooted=chrooted) == where


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("smtp", ("", "smtp")),
        ("127.0.0.1:10025", ("127.0.0.1", "10025")),
        ("[::1]:smtp", ("::1", "smtp")),
        ("::1:smtp", ("::1", "smtp")),
    ],
)
def test_services_of_master_cf(name: str, parts: tuple[str, str]) -> None:
    assert split_service(name) == parts


@pytest.mark.parametrize(
    ("where", "path"),
    [("unix:/run/x", "/run/x"), ("unix:/a:b", "/a:b"), ("inet:[::1]:25", ""), ("", ""), ("unixx:/a", "")],
)
def test_socket_path(where: str, path: str) -> None:
    assert socket_path(where) == path
