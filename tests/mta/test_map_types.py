"""Which types of our tables are made."""

import pytest

from closedmail.mta.map_types import choose_types, tables_in

HASH = "hash:/maps/transport"


@pytest.mark.parametrize(
    ("value", "tables"),
    [
        ("", []),
        ("hash:/etc/postfix/x", [("hash", "/etc/postfix/x")]),
        ("proxy:lmdb:/a, btree:/b cdb:/c", [("lmdb", "/a"), ("btree", "/b"), ("cdb", "/c")]),
        ("unionmap:{hash:/a,pipemap:{regexp:/b,inline:{ x=y }}}", [("hash", "/a"), ("regexp", "/b")]),
        ("check_sender_access hash:/a, reject", [("hash", "/a")]),
        ("smtp:[192.0.2.1]:25 unix:private/x static:/", [("static", "/")][:0]),
    ],
)
def test_tables_in_a_setting(value: str, tables: list[tuple[str, str]]) -> None:
    assert tables_in([value]) == frozenset(tables)


@pytest.mark.parametrize(
    ("asked", "named", "present", "transport", "policy"),
    [
        # Nothing names them: what is asked for, or Postfix's default.
        ("", (), (), "lmdb", "lmdb"),
        ("cdb", (), (), "cdb", "cdb"),
        # What main.cf names stays, and the other table follows.
        ("", (HASH,), (), "hash", "hash"),
        ("", (HASH, "lmdb:/maps/transport"), (), "lmdb hash", "lmdb"),
        ("", (HASH, "btree:/maps/tls_policy"), (), "hash", "btree"),
        ("", ("cdb:/maps/tls_policy",), (), "cdb", "cdb"),
        ("", ("hash:/other/transport", "hash:/maps/below/transport"), (), "lmdb", "lmdb"),
        ("", ("hash:/maps//transport",), (), "hash", "hash"),
        ("", ("texthash:/maps/transport", "regexp:/maps/transport"), (), "lmdb", "lmdb"),
        # What is asked for comes first, and what is named is made too.
        ("cdb", (HASH, "hash:/maps/tls_policy"), (), "cdb hash", "cdb hash"),
        ("hash", (HASH,), (), "hash", "hash"),
        # So is what lies beside, where this Postfix can read it.
        ("", (), ("transport", "transport.lmdb", "transport.db"), "lmdb hash", "lmdb"),
        ("btree", (), ("transport", "transport.db"), "btree", "btree"),
        ("", (HASH,), ("transport", "transport.db", "transport.lmdb"), "hash lmdb", "hash"),
        ("", (), ("transport", "transport.pag"), "lmdb", "lmdb"),
        ("", (), ("transport.db", "other.db"), "lmdb", "lmdb"),
    ],
)
def test_types(asked: str, named: tuple[str, ...], present: tuple[str, ...], transport: str, policy: str) -> None:
    known = ("btree", "cdb", "hash", "lmdb")
    chosen = choose_types(asked, "lmdb", tables_in(named), "/maps/", present, lambda: known)
    assert (chosen.of("transport"), chosen.of("tls_policy")) == (tuple(transport.split()), tuple(policy.split()))


def test_what_lies_beside_changes_nothing_where_it_is_made_anyway() -> None:
    """Or the first run's own files would make the second one publish again. Postfix is not even asked."""
    files = ("transport", "transport.lmdb", "tls_policy", "tls_policy.lmdb")
    found = choose_types("", "lmdb", (), "/maps", files, lambda: pytest.fail("it is asked for its types"))
    assert found == choose_types("", "lmdb", (), "/maps")
