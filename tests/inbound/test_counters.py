"""Counts of verdicts: by whom they are named, and what bounds them."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.inbound.counters import LEFT_FOR_PROVEN, MOST_NAMED, Counters, Series

assert samples  # its hypothesis profile

REFUSED, PROVEN = ("reject", "address"), ("accept", "ok")


def spoofed(counters: Counters, partners: int, times: int = 1) -> None:
    """Refused mail in the name of so many partners."""
    for number in range(partners):
        for _ in range(times):
            counters.count(("ndb", f"p{number}.example", *REFUSED))


def test_by_network() -> None:
    """By network, partner and verdict, whatever the reasons."""
    counters = Counters(7)
    for series, times in (
        (("ndb", "koeln.example", "accept", "ok"), 40),
        (("ndb", "koeln.example", "accept", "off"), 1),
        (("ndb", "koeln.example", "reject", "address"), 2),
        (("ndb", "koeln.example", "reject", "tls"), 1),
        (("ndb", ".land.example", "none", "unknown-fact"), 5),
        (("-", "klinik.example", "report", "certificate"), 6),
    ):
        for _ in range(times):
            counters.count(series)
    networks = counters.networks()
    assert list(networks) == ["-", "ndb"]
    assert networks["ndb"].total == {"accept": 41, "reject": 3, "none": 5}
    assert networks["ndb"].partners == {"koeln.example": {"accept": 41, "reject": 3}, ".land.example": {"none": 5}}
    assert networks["-"].partners == {"klinik.example": {"report": 6}}
    assert (networks["ndb"].others, counters.mails, counters.since) == ({}, 55, 7)


def test_a_million_partners() -> None:
    """Those that come first are counted by name, and no mail is lost."""
    counters = Counters(0)
    spoofed(counters, 1_000_000)
    assert len(list(counters)) == MOST_NAMED - LEFT_FOR_PROVEN + 1
    assert dict(counters)[Series("ndb", "", *REFUSED)] == 1_000_000 - MOST_NAMED + LEFT_FOR_PROVEN
    assert counters.mails == counters.networks()["ndb"].total["reject"] == 1_000_000


def test_spoofing_leaves_room_for_partners() -> None:
    """Whoever sends in the name of all partners hides none that sends itself."""
    counters = Counters(0)
    spoofed(counters, MOST_NAMED)
    for number in range(LEFT_FOR_PROVEN + 10):
        counters.count(("ndb", f"p{number}.example", *PROVEN))
    named = dict(counters)
    assert named[Series("ndb", f"p{LEFT_FOR_PROVEN - 1}.example", *PROVEN)] == 1
    assert named[Series("ndb", "", *PROVEN)] == 10
    assert len(named) == MOST_NAMED + 2
    # What is named is counted further by its name, also while all is full.
    spoofed(counters, 1)
    assert dict(counters)[Series("ndb", "p0.example", *REFUSED)] == 2


@pytest.mark.parametrize("partners", [3, MOST_NAMED + 5])
def test_what_is_kept_goes_on(partners: int) -> None:
    """Counters that were saved and read count on as if nothing had been."""
    once, twice = Counters(0), Counters(0)
    spoofed(once, partners, times=2)
    spoofed(twice, partners)
    again = Counters(twice.since, twice)
    assert (again.named, dict(again)) == (twice.named, dict(twice))
    spoofed(again, partners)
    assert dict(again) == dict(once)


def test_a_copy_stays() -> None:
    """A copy is for another thread."""
    counters = Counters(5)
    spoofed(counters, 2)
    copy = counters.copy()
    spoofed(counters, 3)
    assert (copy.mails, copy.named, copy.since, counters.mails) == (2, 2, 5, 5)


WORDS = st.sampled_from(["", "a", "b", "c"])
SERIES = st.builds(Series, WORDS, WORDS, WORDS, st.sampled_from(["ok", "address"]))


@given(st.lists(SERIES))
def test_no_mail_is_lost(mails: list[Series]) -> None:
    """Whatever comes, each mail is counted once, for its network and verdict."""
    counters = Counters(0)
    for mail in mails:
        counters.count(mail)
    assert counters.mails == len(mails)
    for name, network in counters.networks().items():
        assert sum(network.total.values()) == sum(mail.network == name for mail in mails)
        by_whom = [network.others, *network.partners.values()]
        for verdict in network.total:
            assert network.total[verdict] == sum(item[verdict] for item in by_whom)


def test_series_are_tuples() -> None:
    """A plain tuple, as the decision counts, is the same series as a named one."""
    counters = Counters(0, [(Series("ndb", "p.example", *PROVEN), 3)])
    counters.count(("ndb", "p.example", *PROVEN))
    assert list(islice(counters, 2)) == [(Series("ndb", "p.example", *PROVEN), 4)]
