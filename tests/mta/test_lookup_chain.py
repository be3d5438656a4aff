"""In which order Postfix looks into which tables, and what a row of its own means."""

import pytest

from closedmail.mta.lookup_chain import LookupChain, TableList, is_pattern, lookup_chain, split_tables

OURS = "hash:/maps/transport"


@pytest.mark.parametrize(
    ("value", "front", "behind", "ours"),
    [
        ("", (), (), ()),
        (OURS, (), (), ("transport",)),
        (f"hash:/a, {OURS} regexp:/b", ("hash:/a",), ("regexp:/b",), ("transport",)),
        ("hash:/a hash:/maps2/transport", ("hash:/a", "hash:/maps2/transport"), (), ()),
        ("hash:/maps/other proxy:lmdb:/maps/transport", ("hash:/maps/other",), (), ("transport",)),
        (
            "inline:{ {a.example = smtp:[192.0.2.1]} }, " + OURS,
            ("inline:{ {a.example = smtp:[192.0.2.1]} }",),
            (),
            ("transport",),
        ),
        ("unionmap:{hash:/maps/transport,hash:/a}, hash:/b", (), ("hash:/b",), ("transport",)),
    ],
)
def test_a_list_of_tables(value: str, front: tuple[str, ...], behind: tuple[str, ...], ours: tuple[str, ...]) -> None:
    assert split_tables(value, "/maps/transport") == TableList(front, behind, ours)


@pytest.mark.parametrize(
    ("table", "pattern"),
    [("regexp:/a", True), ("proxy:pcre:/a", True), ("pipemap:{pcre:/a,hash:/b}", True), ("hash:/regexp", False)],
)
def test_tables_of_patterns(table: str, pattern: bool) -> None:
    assert is_pattern(table) is pattern


@pytest.mark.parametrize(
    ("value", "service", "nexthops"),
    [
        ("smtp:[192.0.2.1]:25", "smtp", ("[192.0.2.1]:25",)),
        ("ndb:[192.0.2.1], [192.0.2.2]", "ndb", ("[192.0.2.1]", "[192.0.2.2]")),
        ("smtp:", "smtp", ("p.example",)),
        ("smtp", "smtp", ("p.example",)),
        (":", "out", ("[198.51.100.9]",)),
        (":[192.0.2.3]", "out", ("[192.0.2.3]",)),
        ("error:5.1.2 gone away", "error", ()),
        ("retry:4.3.2 later", "retry", ()),
        ("discard:x", "discard", ()),
    ],
)
def test_what_a_row_means(value: str, service: str, nexthops: tuple[str, ...]) -> None:
    chain = LookupChain(default_transport="out", relayhost="[198.51.100.9]")
    assert chain.delivery(value, "p.example") == (service, nexthops)


def test_services_have_settings_of_their_own() -> None:
    main = {"transport_maps": OURS, "smtp_tls_policy_maps": "hash:/maps/tls_policy", "smtp_tls_security_level": "may"}
    options = {
        "rewrite/unix": {"transport_maps": f"hash:/a {OURS}", "recipient_delimiter": "+"},
        "ndb/unix": {"smtp_tls_policy_maps": "hash:/b hash:/maps/tls_policy-ndb", "smtp_tls_security_level": "encrypt"},
        "smtp/inet": {"smtp_tls_security_level": "none"},
    }
    chain = lookup_chain(main, options, "/maps/")
    assert (chain.transport.front, chain.delimiter) == (("hash:/a",), "+")
    assert chain.tls_of("ndb").tables == TableList(("hash:/b",), (), ("tls_policy-ndb",))
    assert [chain.tls_of(name).level for name in ("ndb", "smtp", "relay")] == ["encrypt", "may", "may"]
    renamed = lookup_chain({**main, "rewrite_service_name": "other"}, options, "/maps")
    assert renamed.transport == TableList((), (), ("transport",))
