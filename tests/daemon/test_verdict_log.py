"""One line and one count for each mail and verdict about a partner."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.core.model import Inbound
from closedmail.core.rule import Rule
from closedmail.daemon.verdict_log import VerdictLog
from closedmail.inbound.counters import Counters, Series
from closedmail.inbound.decision import Verdict
from closedmail.inbound.partner import Match

assert samples  # its hypothesis profile

NDB = Rule("ndb", "Netz", Inbound("enforce"), None)
ALONE = Rule("", "Klinik", Inbound("enforce"), None, "klinik.example")


def verdict(key: str = "p.example", *, rule: Rule = NDB, rejected: bool = True, domain: str = "") -> Verdict:
    """A verdict about a partner."""
    match = Match(key, rule)
    if rejected:
        return Verdict("reject", "address", "5.7.1", "no", domain or key, match)
    return Verdict("accept", "ok", "", "", domain or key, match)


class Written:
    """A log in memory."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self.lines: list[str] = []
        self.counters = Counters(0)
        self.log = VerdictLog(self.lines.append, self.counters)

    @property
    def counts(self) -> dict[Series, int]:
        """What has been counted."""
        return dict(self.counters)

    def note(self, what: Verdict, instance: str = "1a.2b", client: str = "192.0.2.1") -> None:
        """Note a verdict in generation 7."""
        self.log.note(what, instance, client, 7)


def test_line() -> None:
    """All fields, as `key=value`."""
    written = Written()
    written.note(verdict("p.example", domain="x.p.example"))
    assert written.lines == [
        "network=ndb partner=p.example verdict=reject reason=address domain=x.p.example client=192.0.2.1 "
        "instance=1a.2b generation=7\n"
    ]
    assert written.counts == {("ndb", "p.example", "reject", "address"): 1}


def test_once() -> None:
    """Once for each instance, verdict and partner, however often Postfix asks."""
    written = Written()
    for _ in range(6):
        for instance in ("1", "2"):
            written.note(verdict(), instance)
            written.note(verdict(rejected=False), instance)
            written.note(verdict("q.example"), instance)
    assert len(written.lines) == len(set(written.lines)) == 6
    assert written.counts == {
        ("ndb", "p.example", "reject", "address"): 2,
        ("ndb", "p.example", "accept", "ok"): 2,
        ("ndb", "q.example", "reject", "address"): 2,
    }


def test_without_instance() -> None:
    """Mails that can't be told apart are counted each."""
    written = Written()
    written.note(verdict(), "")
    written.note(verdict(), "")
    assert len(written.lines) == 2
    assert "instance=- " in written.lines[0]


def test_not_our_business() -> None:
    """What is about no partner is not logged."""
    written = Written()
    written.note(Verdict("none", "not-listed"))
    assert (written.lines, written.counts) == ([], {})


def test_alone() -> None:
    """A partner that stands alone has no network."""
    written = Written()
    written.note(verdict("klinik.example", rule=ALONE))
    assert written.lines[0].startswith("network=- partner=klinik.example ")
    assert set(written.counts) == {("-", "klinik.example", "reject", "address")}


def test_bounded_memory() -> None:
    """Old instances are forgotten, recent ones are not."""
    written = Written()
    for number in range(20_000):
        written.note(verdict(), str(number))
    assert len(written.log._seen) + len(written.log._seen_before) <= 5000
    assert written.counts == {("ndb", "p.example", "reject", "address"): 20_000}
    written.note(verdict(), "19999")
    written.note(verdict(), "19000")
    assert len(written.lines) == 20_000


LINE = re.compile(
    r"network=ndb partner=p\.example verdict=reject reason=address domain=\S+ client=\S+ instance=\S+ generation=7\n"
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", "-"),
        ("a b", "a?b"),
        ("a\nverdict=accept", "a?verdict=accept"),
        ('"', "?"),
        ("\x1b[31m", "?[31m"),
        ("ö", "?"),
        ("\udcff\u2028", "??"),
        ("x" * 9999, "x" * 255),
    ],
)
def test_hostile_value(value: str, shown: str) -> None:
    """A value neither ends its field nor its line."""
    written = Written()
    written.note(verdict(), value, value)
    assert f" client={shown} instance={shown} " in written.lines[0]
    assert LINE.fullmatch(written.lines[0])


@given(st.text(), st.text(), st.text(min_size=1))
def test_any_value(instance: str, client: str, domain: str) -> None:
    """Whatever comes, a line is a line."""
    written = Written()
    written.note(verdict(domain=domain), instance, client)
    assert LINE.fullmatch(written.lines[0])
    assert written.lines[0].isascii()
    assert len(written.lines[0]) < 1000
