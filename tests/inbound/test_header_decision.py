"""The header's verdict: the proofs of an envelope sender, at most as strict as mode and header_from together."""

from dataclasses import replace
from ipaddress import ip_network
from itertools import product

import pytest
from support.core_samples import Book

from closedmail.core.address import AddressSet
from closedmail.core.model import CertificatePin, HeaderFrom, Inbound, Mode
from closedmail.core.rule import Rule, strongest_header_from
from closedmail.inbound.decision import Verdict
from closedmail.inbound.facts import ClientCertificate, Envelope
from closedmail.inbound.header_decision import decide_header, unenforceable_headers
from closedmail.inbound.partner import Match
from closedmail.replay.enforced import Enforced

INSIDE, OUTSIDE, LIST = "192.0.2.1", "203.0.113.9", "198.51.100.7"
ENFORCED = Inbound(
    "enforce",
    allow_from=(ip_network("192.0.2.0/24"),),
    header_from="enforce",
    header_from_exempt=(ip_network("198.51.100.0/24"),),
)


def match(key: str, inbound: Inbound = ENFORCED, partner: str = "") -> Match:
    return Match(key, Rule("ndb", "Netz", inbound, None, partner))


def book(*matches: Match, **changes: object) -> Book:
    return replace(Book({item.key: item for item in matches}), **changes)  # type: ignore[arg-type]


def ask(rules: Book, *values: str, client: str = OUTSIDE, sasl: str = "", sender: str = "") -> Verdict:
    return decide_header([value.encode() for value in values], Envelope(sender, client, sasl), rules)


P, Q = match("p.example"), match("q.example")


@pytest.mark.parametrize(
    ("rules", "value", "client", "sasl", "reason"),
    [
        (book(P), "u@p.example", OUTSIDE, "", "address"),
        (book(P), "u@p.example", INSIDE, "", "ok"),
        (book(P), "u@p.example", LIST, "", "not-listed"),  # header_from_exempt
        (book(P), "u@p.example", "unknown", "", "address"),
        (book(P), "u@p.example", OUTSIDE, "joe", "sasl"),
        (book(P, exempt_sasl=False), "u@p.example", OUTSIDE, "joe", "address"),
        (book(P, trusted=AddressSet([ip_network("203.0.113.0/24")])), "u@p.example", OUTSIDE, "", "trusted"),
        (book(P), "u@q.example", OUTSIDE, "", "not-listed"),
        (book(P), "u@city.example", OUTSIDE, "", "own-domain"),
        (book(P), "", OUTSIDE, "", "not-listed"),
        (book(match("x.city.example", partner="x.city.example")), "u@x.city.example", OUTSIDE, "", "address"),
        (book(match("x.city.example")), "u@x.city.example", OUTSIDE, "", "own-domain"),
        (book(match(".p.example")), "u@a.p.example", OUTSIDE, "", "address"),
        (replace(book(), guards={"kim.example": match("kim.example")}), "u@a.kim.example", OUTSIDE, "", "address"),
        (book(P, Q), "u@city.example, v@p.example", OUTSIDE, "", "address"),
    ],
)
def test_steps(rules: Book, value: str, client: str, sasl: str, reason: str) -> None:
    """Null, own and any other envelope senders make no difference."""
    for sender in ("", "u@city.example", "u@p.example", "u@stranger.example"):
        assert ask(rules, value, client=client, sasl=sasl, sender=sender).reason == reason


# What comes of a proof that is missing.
MODES: dict[tuple[Mode, HeaderFrom], str] = {
    ("enforce", "enforce"): "reject",
    ("enforce", "report"): "report",
    ("enforce", "off"): "none",
    ("defer", "enforce"): "defer",
    ("defer", "report"): "report",
    ("defer", "off"): "none",
    ("report", "enforce"): "report",
    ("report", "report"): "report",
    ("report", "off"): "none",
    ("off", "enforce"): "accept",
    ("off", "report"): "accept",
    ("off", "off"): "none",
}


@pytest.mark.parametrize(("mode", "header_from"), MODES)
def test_modes(mode: Mode, header_from: HeaderFrom) -> None:
    rules = book(match("p.example", replace(ENFORCED, mode=mode, header_from=header_from)))
    verdict = ask(rules, "u@p.example")
    assert verdict.outcome == MODES[mode, header_from]
    assert ask(rules, "u@p.example", client=INSIDE).outcome == ("none" if header_from == "off" else "accept")


def test_text() -> None:
    """It says that it is about the header; a partner's own text is the partner's."""
    verdict = ask(book(P), "u@p.example")
    assert (verdict.dsn, verdict.text) == (
        "5.7.1",
        "Mail from p.example in its From: or Sender: header is accepted through Netz only: "
        "client address 203.0.113.9 is not authorised for it",
    )
    own = match("p.example", replace(ENFORCED, mode="defer", reject_text="{domain}: {reason}"))
    verdict = ask(book(own), "u@p.example")
    assert (verdict.dsn, verdict.text) == ("4.7.1", "p.example: address")


def test_of_several_addresses_the_gravest_verdict_counts() -> None:
    keys = {
        "reject.example": match("reject.example"),
        "defer.example": match("defer.example", replace(ENFORCED, mode="defer")),
        "report.example": match("report.example", replace(ENFORCED, mode="report")),
        "off.example": match("off.example", replace(ENFORCED, mode="off")),
    }
    rules = book(*keys.values())
    order = [*keys, "city.example", "stranger.example"]
    for one, other in product(order, order):
        decided = ask(rules, f"u@{one}, v@{other}")
        graver = min(one, other, key=order.index)
        assert decided.domain == (graver if graver in keys else "")
        assert ask(rules, f"u@{one}", f"v@{other}") == decided


CERT = Inbound("enforce", "cert", certificates=(CertificatePin(fingerprint="ab" * 32),), header_from="enforce")


def test_what_is_not_known_is_not_refused() -> None:
    rules = book(match("p.example", CERT))
    for shown, outcome in ((None, "none"), ("", "reject"), ("ab" * 32, "accept")):
        envelope = Envelope("", OUTSIDE, "", ClientCertificate(fingerprint=shown))
        assert decide_header([b"u@p.example"], envelope, rules).outcome == outcome


def rule(inbound: Inbound, partner: str = "") -> Rule:
    return Rule("ndb", "Netz", inbound, None, partner)


@pytest.mark.parametrize(
    ("inbound", "postfix", "sendmail"),
    [
        (CERT, True, False),
        (replace(CERT, require="ip or cert"), True, False),
        (replace(CERT, require="ip"), False, False),
        (replace(CERT, mode="off"), False, False),
        (replace(CERT, header_from="off"), False, False),
        (replace(CERT, header_from="report", mode="report"), True, False),
        (replace(CERT, certificates=(CertificatePin(subject="a", pubkey_fingerprint="cd" * 32),)), True, True),
        (replace(CERT, certificates=(CertificatePin(subject="a", issuer="b"),)), False, False),
    ],
)
def test_rules_that_a_milter_is_unenforceable_headers_enough_for(
    inbound: Inbound, postfix: bool, sendmail: bool
) -> None:
    for mta, expected in ((False, postfix), (True, sendmail)):
        sentences = list(unenforceable_headers([rule(inbound), rule(ENFORCED)], sendmail=mta))
        assert bool(sentences) == expected
        assert all(sentence.startswith("network.ndb.inbound.header_from ") for sentence in sentences)


def test_the_strongest() -> None:
    modes: list[HeaderFrom] = ["off", "report", "enforce"]
    for one, other in product(modes, modes):
        rules = [rule(replace(ENFORCED, header_from=each)) for each in (one, other)]
        assert strongest_header_from(rules) == max(one, other, key=modes.index)
    assert strongest_header_from([]) == "off"
    assert strongest_header_from([rule(replace(ENFORCED, mode="off"))]) == "off"
    assert strongest_header_from([rule(replace(ENFORCED, mode="report"))]) == "report"
    assert strongest_header_from([rule(replace(ENFORCED, mode="defer"))]) == "enforce"


def test_an_enforced_rulebook_asks_the_same_of_headers() -> None:
    assert Enforced(book(P)).header_from == "enforce"
