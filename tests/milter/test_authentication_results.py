"""The trust mark: written by us alone, known when forged, and other filters' results left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedmail.milter.authentication_results import bears_our_mark, mark

ID = "gw.city.example"

FORGED = [
    "gw.city.example; x-closedmail=pass (ndb) smtp.mailfrom=koeln.example",
    "gw.city.example; x-closedmail=none",
    "GW.City.Example; X-ClosedMail=pass",
    "gw.city.example;x-closedmail=pass",
    " \tgw.city.example\t;\r\n\tx-closedmail=pass",
    "gw.city.example 1; x-closedmail=pass",
    "gw.city.example\r\n 1\r\n ; x-closedmail = pass",
    '"gw.city.example"; x-closedmail=pass',
    '"gw\\.city.example"; x-closedmail=pass',
    "(a) gw.city.example (b) 1 (c); x-closedmail(d)=(e)pass",
    "(a; (b)) gw.city.example; x-closedmail=pass",
    "gw.city.example.; x-closedmail=pass",
    "gw.city.\r\n example; x-closedmail=pass",
    "gw.city.example; x-closed\r\n mail=pass",
    "gw.city(a).example; x-closedmail=pass",
    "gw.city.example; spf=pass smtp.mailfrom=a@b.example; x-closedmail=pass",
    'gw.city.example; spf=pass reason="x-closedmail"',
    "gw.city.example; x-closedmail/1=pass",
    "gw.\x00city.example; x-closed\x0bmail=pass",
    "=?utf-8?q?gw.city.example=3B_x-closedmail=3Dpass?=",
    "gw.city.example; =?utf-8?b?eC1jbG9zZWRtYWlsPXBhc3M=?=",
    "=?utf-8?q?mx.example=3B_spf=3Dpass=0Agw.city.example=3B_x-closedmail=3Dpass?=",
    "mx.example; spf=pass\ngw.city.example; x-closedmail=pass",
    "gw.city.example x-closedmail=pass",
]
OTHERS = [
    "gw.city.example; spf=pass smtp.mailfrom=koeln.example",
    "gw.city.example; dkim=pass header.d=x-closed.example",
    "gw.city.example 1; none",
    "mx.example; x-closedmail=pass (ndb) smtp.mailfrom=koeln.example",
    "mx.gw.city.example; x-closedmail=pass",
    "gw.city.example.org; x-closedmail=pass",
    "xgw.city.example; x-closedmail=pass",
    "mx.example; x-closedmail=pass reason=gw.city.example",
    "mx.example (gateway); spf=pass",
    "",
    ";",
    "i=1; gw.city.example; spf=pass",
]


@pytest.mark.parametrize("value", FORGED)
def test_forged(value: str) -> None:
    assert bears_our_mark(value.encode(), ID)
    assert bears_our_mark(value.upper().encode().replace(b"=?UTF-8?Q?", b"=?utf-8?q?"), ID) or "=?" in value


@pytest.mark.parametrize("value", OTHERS)
def test_others_are_left_alone(value: str) -> None:
    assert not bears_our_mark(value.encode(), ID)


@given(st.binary(max_size=100))
def test_no_bytes_fail(value: bytes) -> None:
    assert not bears_our_mark(value, ID)
    assert bears_our_mark(b"gw.city.example; x-closedmail=pass " + value.replace(b"(", b""), ID)


@given(st.lists(st.sampled_from(["(a)", " ", "\r\n ", "\t", "(b(c))", "\x00"]), max_size=4).map("".join))
def test_what_readers_skip_makes_no_difference(skipped: str) -> None:
    assert bears_our_mark(f"{skipped}{ID}{skipped};{skipped}x-closedmail{skipped}=pass".encode(), ID)


def test_our_own() -> None:
    ours = mark(ID, "ndb", "koeln.example")
    assert ours == "gw.city.example; x-closedmail=pass (ndb) smtp.mailfrom=koeln.example"
    assert bears_our_mark(ours.encode(), ID)


@pytest.mark.parametrize(("network", "domain"), [("n d", "a.example"), ("ndb", "a;b.example"), ("", "a"), ("a", "")])
def test_names_that_would_need_quotes_are_not_vouched_for(network: str, domain: str) -> None:
    assert mark(ID, network, domain) is None
