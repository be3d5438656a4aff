"""Restriction lists, read as smtpd reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedmail.mta.restrictions import (
    PolicyClient,
    Restriction,
    parse_policy_client,
    parse_restrictions,
    result_permits,
    split_list,
    table_of,
    walk,
)

CHECK = "check_policy_service { unix:a/b, timeout=10s, { default_action = 451 4.3.5 come back } }"


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("", []),
        (" , ,\t\n", []),
        ("a, b c,,d", ["a", "b", "c", "d"]),
        ("a\n  b", ["a", "b"]),
        ("{ a, b } c", ["{ a, b }", "c"]),
        ("{ a, { b = c d } }, e", ["{ a, { b = c d } }", "e"]),
        ("inline:{ {a = OK}, b=c } d", ["inline:{ {a = OK}, b=c }", "d"]),
        ("a } b", ["a", "}", "b"]),
        ("{ a b", ["{ a b"]),
    ],
)
def test_a_list_is_split(value: str, items: list[str]) -> None:
    assert split_list(value) == items


@pytest.mark.parametrize(
    ("value", "restrictions"),
    [
        ("permit_mynetworks, reject", ["permit_mynetworks", "reject"]),
        ("PERMIT_MyNetworks reject", ["permit_mynetworks", "reject"]),
        ("check_client_access hash:/A/b, permit", ["check_client_access hash:/A/b", "permit"]),
        ("reject_rbl_client zen.example=127.0.0.2 sleep 1 permit", None),
        ("reject_rhsbl_sender dbl.example, permit", ["reject_rhsbl_sender dbl.example", "permit"]),
        ("warn_if_reject reject_unknown_sender_domain", ["warn_if_reject", "reject_unknown_sender_domain"]),
        ("hash:/etc/postfix/Access permit", ["hash:/etc/postfix/Access", "permit"]),
        ("MyClass, permit", ["MyClass", "permit"]),
        ("check_policy_service", ["check_policy_service"]),
        (CHECK, [CHECK]),
    ],
)
def test_restrictions_have_their_arguments(value: str, restrictions: list[str] | None) -> None:
    found = [str(item) for item in parse_restrictions(value)]
    assert found == (restrictions or ["reject_rbl_client zen.example=127.0.0.2", "sleep 1", "permit"])


@given(st.lists(st.sampled_from(["permit", "reject", "check_client_access hash:/a", "Own", CHECK, "a:b"])))
def test_what_is_written_is_read_again(items: list[str]) -> None:
    assert [str(item) for item in parse_restrictions(", ".join(items))] == items
    # As postconf -P wants it, without white space.
    if CHECK not in items:
        assert [str(item) for item in parse_restrictions(",".join(items).replace(" ", ","))] == items


@given(st.text(alphabet="ab:{}, \n=/", max_size=40))
def test_no_text_is_too_odd(value: str) -> None:
    items = split_list(value)
    assert all(items)
    assert [char for char in "".join(items) if char not in ", \n"] == [char for char in value if char not in ", \n"]
    list(walk(value, {"a": value}))


def test_classes_stand_for_their_lists() -> None:
    classes = {"inner": "reject_non_fqdn_sender, permit_mynetworks", "Outer": "inner, reject"}
    found = [item.name for item in walk("Outer, permit, outer", classes)]
    assert found == ["reject_non_fqdn_sender", "permit_mynetworks", "reject", "permit", "outer"]


@pytest.mark.parametrize(
    ("value", "warned"),
    [
        ("warn_if_reject a, b", "a"),
        ("warn_if_reject Outer, b", "reject_x inner_x a"),
        ("Outer, b", "inner_x"),
        ("WARN_IF_REJECT inner, a", "inner_x"),
        ("a, warn_if_reject", ""),
    ],
)
def test_what_is_only_logged(value: str, warned: str) -> None:
    """The next item, with all of it where that is a class."""
    classes = {"Outer": "reject_x, warn_if_reject inner, a", "inner": "inner_x"}
    found = [item for item in walk(value, classes) if item.name != "warn_if_reject"]
    assert [item.name for item in found if item.only_warns] == warned.split()


def test_a_class_of_itself_ends() -> None:
    assert [item.name for item in walk("a, reject", {"a": "a, permit"})] == ["permit", "reject"]


@pytest.mark.parametrize(
    ("argument", "client"),
    [
        ("unix:private/policy", PolicyClient("unix:private/policy")),
        ("{ inet:127.0.0.1:1, timeout=10s }", PolicyClient("inet:127.0.0.1:1", {"timeout": "10s"})),
        (
            CHECK.removeprefix("check_policy_service "),
            PolicyClient("unix:a/b", {"timeout": "10s", "default_action": "451 4.3.5 come back"}),
        ),
        ("{ }", PolicyClient("")),
    ],
)
def test_a_policy_client(argument: str, client: PolicyClient) -> None:
    assert parse_policy_client(argument) == client


@pytest.mark.parametrize(
    ("restriction", "table"),
    [
        (Restriction("check_sender_access", "hash:/a"), "hash:/a"),
        (Restriction("hash:/a"), "hash:/a"),
        (Restriction("check_policy_service", "unix:a"), ""),
        (Restriction("reject_rbl_client", "a"), ""),
        (Restriction("permit"), ""),
    ],
)
def test_tables(restriction: Restriction, table: str) -> None:
    assert table_of(restriction) == table


@pytest.mark.parametrize(
    ("result", "permits"),
    [
        ("OK", True),
        ("ok", True),
        ("250", True),
        ("RELAY", True),
        ("permit_mynetworks", True),
        ("friends", True),
        ("reject_non_fqdn_sender, permit", True),
        ("554 no", False),
        ("4.7.1 no", False),
        ("REJECT", False),
        ("DUNNO", False),
        ("FILTER smtp:[a]", False),
        ("strangers", False),
        ("", False),
    ],
)
def test_results_of_tables(result: str, permits: bool) -> None:
    classes = {"friends": "permit_mynetworks", "strangers": "reject"}
    assert result_permits(result, classes) is permits
