"""The decision: the order of its steps, its table of proofs and modes, and the answers that it can never give."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, ip_network
from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import Book

from closedmail.core.address import AddressSet
from closedmail.core.domain import DomainSet
from closedmail.core.model import CertificatePin, Inbound, Mode, Require
from closedmail.core.rule import Rule
from closedmail.inbound.decision import Verdict, decide
from closedmail.inbound.facts import ClientCertificate, Envelope, Facts
from closedmail.inbound.partner import Match
from closedmail.inbound.sender import SenderError
from closedmail.policyd.policy_reply import action_of

INSIDE, OUTSIDE, RELAY = "192.0.2.1", "203.0.113.9", "198.51.100.7"
ALLOWED = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
PUBKEY = "ab" * 32
PIN = (CertificatePin(pubkey_fingerprint=PUBKEY),)
SHOWN = ClientCertificate(pubkey_fingerprint=PUBKEY)
UNTOLD = ClientCertificate(fingerprint=None, pubkey_fingerprint=None)
ENFORCED = Inbound("enforce", allow_from=ALLOWED)


def match(key: str, inbound: Inbound = ENFORCED, *, partner: str = "", network: str = "ndb", value: str = "") -> Match:
    """A partner in a table."""
    return Match(key, Rule(network, "Netz", inbound, None, partner), value)


def book(*matches: Match, **changes: object) -> Book:
    """A rulebook of these partners."""
    return replace(Book({item.key: item for item in matches}), **changes)  # type: ignore[arg-type]


def ask(
    rules: Book,
    sender: str = "u@p.example",
    client: str = OUTSIDE,
    sasl: str = "",
    certificate: ClientCertificate = ClientCertificate(),  # noqa: B008, it is frozen
    *,
    encrypted: bool | None = False,
) -> Verdict:
    """Decide about a mail; by default a stranger's."""
    return decide(Envelope(sender, client, sasl, certificate, encrypted), rules)


P = match("p.example")
TRUSTING = book(P, trusted=AddressSet([ip_network("203.0.113.0/24")]))
OWN_TOO = book(P, own=DomainSet(["p.example"]))
STEPS = [
    # rules, sender, SASL login, reason: each line fails the steps that come before its own
    (replace(TRUSTING, own=DomainSet(["p.example"])), "", "joe", "null-sender"),
    (replace(TRUSTING, own=DomainSet(["p.example"])), "u@p.example", "joe", "sasl"),
    (replace(TRUSTING, own=DomainSet(["p.example"])), "u@p.example", "", "trusted"),
    (replace(TRUSTING, exempt_sasl=False), "u@p.example", "joe", "trusted"),
    (OWN_TOO, "u@p.example", "", "own-domain"),
    (replace(OWN_TOO, exempt_sasl=False), "u@p.example", "joe", "own-domain"),
    (OWN_TOO, "u@x.P.example.", "", "own-domain"),
    (book(P), "u@city.example", "", "own-domain"),
    (book(P), "u@mail.city.example", "", "own-domain"),
    (book(P), "u", "", "own-domain"),
    (book(P), "u@q.example", "", "not-listed"),
    (book(P), "u@x.p.example", "", "not-listed"),
    (book(P), "u@p.example.q.example", "", "not-listed"),
    (book(P), "u@xp.example", "", "not-listed"),
    (book(P), "u@", "", "not-listed"),
    (book(P), "u@[192.0.2.1]", "", "not-listed"),
    (book(match(".p.example")), "u@p.example", "", "not-listed"),
    (book(P), "u@p.example", "", "address"),
    (book(P, exempt_sasl=False), "u@p.example", "joe", "address"),
    (book(P), "u@P.EXAMPLE.", "", "address"),
    (book(P), "u%p.example", "", "address"),
    (book(P), "p.example!u", "", "address"),
    (book(P), "u x%p.example", "", "own-domain"),
    (book(P), "u@p.example@", "", "address"),
    (book(P), "u@q.example@p.example", "", "address"),
    (book(match("xn--kln-sna.example")), "u@KÖLN.example", "", "address"),
    (book(match("xn--strae-oqa.example")), "u@straße.example", "", "address"),
    (book(match("xn--strae-oqa.example")), "u@strasse.example", "", "not-listed"),
]


@pytest.mark.parametrize(("rules", "sender", "sasl", "reason"), STEPS)
def test_steps(rules: Book, sender: str, sasl: str, reason: str) -> None:
    """The first step that applies decides, and what is not our business passes."""
    verdict = ask(rules, sender, sasl=sasl)
    assert verdict.reason == reason
    if reason == "address":
        assert verdict.outcome == "reject"
        assert (verdict.dsn, verdict.text != "") == ("5.7.1", True)
    else:
        assert (verdict.outcome, verdict.dsn, verdict.text, verdict.match) == ("none", "", "", None)


@pytest.mark.parametrize("client", ["", "unknown", "192.0.2", "192.0.2.1.5", "garbage", "::1%", "1" * 100])
def test_no_address(client: str) -> None:
    """A client without an address is nobody, even where all addresses are trusted or allowed."""
    everyone = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    rules = book(match("p.example", replace(ENFORCED, allow_from=everyone)), trusted=AddressSet(everyone))
    assert ask(rules, client=client).reason == "address"
    assert ask(rules, client="192.0.2.77").reason == "trusted"


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        (INSIDE, "ok"),
        ("::ffff:192.0.2.1", "ok"),
        ("2001:db8::25", "ok"),
        ("::ffff:203.0.113.9", "address"),
        ("2001:db9::25", "address"),
        ("::192.0.2.1", "address"),
        ("127.0.0.1", "address"),  # loopback is not trusted unless named
        ("::1", "address"),
    ],
)
def test_address(client: str, reason: str) -> None:
    """The client's address is in allow_from, or not."""
    assert ask(book(P), client=client).reason == reason


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        ("fe80::1%eth0", "ok"),
        ("fe80::1%x {domain}\n\x1b", "ok"),
        ("2001:db9::1%eth0\r\n", "address"),
        ("192.0.2.1%e", "address"),
    ],
)
def test_zone(client: str, reason: str) -> None:
    """An address with a zone is that address; the zone is no way into the text (Postfix leaves it out)."""
    rules = book(match("p.example", replace(ENFORCED, allow_from=(ip_network("fe80::/10"),))))
    verdict = ask(rules, client=client)
    assert verdict.reason == reason
    assert verdict.text.isprintable()


def test_not_utf8() -> None:
    """A sender whose domain is not UTF-8 can't be judged; whose local part is not, can."""
    with pytest.raises(SenderError):
        ask(book(P), "u@\udcff.example")
    assert ask(book(P), "\udcff@p.example").reason == "address"
    assert ask(book(P), "u@\udcff.example", sasl="joe").reason == "sasl"


# --- What require, the facts and the mode make of each other

# The whole table, written out by hand. Three groups for the fact ip: true, false, unknown; in each, three words for the
# fact cert: true, false, unknown; with require_tls, three letters for the fact tls: true, false, unknown. A letter is
# what the mail lacks: nothing (.), its address, its certificate, tls, or that it is unknown (?).
TABLE: dict[tuple[Require, bool], str] = {
    ("ip", False): ". . .   a a a   ? ? ?",
    ("cert", False): ". c ?   . c ?   . c ?",
    ("ip and cert", False): ". c ?   a a a   ? c ?",
    ("ip or cert", False): ". . .   . a ?   . ? ?",
    ("ip", True): ".t? .t? .t?   aaa aaa aaa   ?t? ?t? ?t?",
    ("cert", True): ".t? ccc ?t?   .t? ccc ?t?   .t? ccc ?t?",
    ("ip and cert", True): ".t? ccc ?t?   aaa aaa aaa   ?t? ccc ?t?",
    ("ip or cert", True): ".t? .t? .t?   .t? aaa ?t?   .t? ?t? ?t?",
}
REJECT, DEFER, WARN, PASS = "REJECT 5.7.1 Mail", "DEFER 4.7.1 Mail", "WARN Mail", "DUNNO"
VERDICTS: dict[tuple[Mode, str], tuple[str, str, str]] = {
    ("enforce", "."): ("accept", "ok", PASS),
    ("enforce", "a"): ("reject", "address", REJECT),
    ("enforce", "c"): ("reject", "certificate", REJECT),
    ("enforce", "t"): ("reject", "tls", REJECT),
    ("enforce", "?"): ("none", "unknown-fact", PASS),
    ("defer", "."): ("accept", "ok", PASS),
    ("defer", "a"): ("defer", "address", DEFER),
    ("defer", "c"): ("defer", "certificate", DEFER),
    ("defer", "t"): ("defer", "tls", DEFER),
    ("defer", "?"): ("none", "unknown-fact", PASS),
    ("report", "."): ("accept", "ok", PASS),
    ("report", "a"): ("report", "address", WARN),
    ("report", "c"): ("report", "certificate", WARN),
    ("report", "t"): ("report", "tls", WARN),
    ("report", "?"): ("none", "unknown-fact", PASS),
    ("off", "."): ("accept", "ok", PASS),
    ("off", "a"): ("accept", "off", PASS),
    ("off", "c"): ("accept", "off", PASS),
    ("off", "t"): ("accept", "off", PASS),
    ("off", "?"): ("accept", "off", PASS),  # nothing hangs on what is unknown
}
FACT = (True, False, None)


def lacking(require: Require, require_tls: bool) -> Iterator[tuple[Facts, str]]:
    """The letters of the table, each with its facts."""
    words = iter(TABLE[require, require_tls].split())
    for ip, cert in product(FACT, FACT):
        word = next(words)
        yield from ((Facts(ip, cert, tls), word[at] if require_tls else word) for at, tls in enumerate(FACT))
    assert next(words, None) is None


@pytest.mark.parametrize("mode", ["enforce", "defer", "report", "off"])
@pytest.mark.parametrize("require_tls", [False, True])
@pytest.mark.parametrize("require", ["ip", "cert", "ip and cert", "ip or cert"])
def test_proofs(require: Require, require_tls: bool, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every combination of require, require_tls and mode, with every fact true, false and unknown."""
    inbound = Inbound(mode, require, ALLOWED, certificates=PIN, require_tls=require_tls)
    rules = book(match("p.example", inbound))
    for facts, letter in lacking(require, require_tls):
        monkeypatch.setattr("closedmail.inbound.decision.facts_of", lambda *_, facts=facts: facts)
        verdict = ask(rules)
        outcome, reason, action = VERDICTS[mode, letter]
        assert (verdict.outcome, verdict.reason) == (outcome, reason), facts
        given = action_of(verdict)
        assert given == action if action == PASS else given.startswith(f"{action} from p.example ")
        assert verdict.match is not None
        assert (verdict.match.key, verdict.domain, verdict.facts) == ("p.example", "p.example", facts)


def test_facts() -> None:
    """What the facts are taken from; an address is never unknown: one that is missing is nobody's."""
    certificates = {True: SHOWN, False: ClientCertificate(), None: UNTOLD}
    rules = book(match("p.example", Inbound("enforce", "ip or cert", ALLOWED, certificates=PIN, require_tls=True)))
    for client, cert, tls in product((INSIDE, OUTSIDE, "unknown"), FACT, FACT):
        verdict = ask(rules, client=client, certificate=certificates[cert], encrypted=tls)
        assert verdict.facts == (client == INSIDE, cert, tls)


@pytest.mark.parametrize("allow_route_hosts", [False, True])
def test_the_alternative_that_is_none(allow_route_hosts: bool) -> None:
    """Where no address would do, it is the certificate that a mail lacks."""
    inbound = Inbound("enforce", "ip or cert", allow_route_hosts=allow_route_hosts, certificates=PIN)
    verdict = ask(book(match("p.example", inbound, value="smtp:mx.p.example")))
    assert verdict.reason == ("address" if allow_route_hosts else "certificate")


# --- Which partner

SUBDOMAINS = replace(ENFORCED, subdomains=True)
TREE = book(
    match("p.example", SUBDOMAINS),
    match(".a.p.example"),
    match("b.a.p.example", SUBDOMAINS),
    match("c.p.example"),
    match(".q.example"),
    match("r.example", SUBDOMAINS),
    match(".r.example"),
    match("s.kim.example"),
)
TREE = replace(TREE, guards={"kim.example": match("kim.example"), "deep.kim.example": match("deep.kim.example")})


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("p.example", "p.example"),
        ("x.p.example", "p.example"),
        ("y.x.p.example", "p.example"),
        ("a.p.example", "p.example"),  # .a.p.example does not stand for a.p.example
        ("x.a.p.example", ".a.p.example"),
        ("b.a.p.example", "b.a.p.example"),
        ("x.b.a.p.example", "b.a.p.example"),  # longer than .a.p.example
        ("c.p.example", "c.p.example"),
        ("x.c.p.example", "p.example"),
        ("q.example", None),
        ("x.q.example", ".q.example"),
        ("r.example", "r.example"),
        ("x.r.example", ".r.example"),  # an explicit .x beats the subdomains of x
        ("kim.example", "kim.example"),
        ("x.kim.example", "kim.example"),
        ("x.deep.kim.example", "deep.kim.example"),
        ("s.kim.example", "s.kim.example"),
        ("x.s.kim.example", "kim.example"),
        ("xkim.example", None),
        ("example", None),
    ],
)
def test_partner(name: str, key: str | None) -> None:
    """The exact domain, else the longest suffix, else a closed domain."""
    verdict = ask(TREE, f"u@{name}")
    assert (verdict.match.key if verdict.match else None) == key
    assert verdict.reason == ("not-listed" if key is None else "address")


@pytest.mark.parametrize(
    ("key", "partner", "subdomains", "sender", "reason"),
    [
        ("city.example", "city.example", False, "u@city.example", "address"),
        ("city.example", "city.example", False, "u@mail.city.example", "own-domain"),
        ("city.example", "city.example", True, "u@mail.city.example", "address"),
        ("mail.city.example", "mail.city.example", False, "u@mail.city.example", "address"),
        ("mail.city.example", "mail.city.example", False, "u@city.example", "own-domain"),
        (".city.example", ".city.example", False, "u@mail.city.example", "address"),
        (".example", ".example", False, "u@city.example", "own-domain"),  # a table for others
        (".example", "", False, "u@city.example", "own-domain"),  # listed
        ("city.example", "", False, "u@city.example", "own-domain"),
    ],
)
def test_own_domains(key: str, partner: str, subdomains: bool, sender: str, reason: str) -> None:
    """Own domains are never enforced, except one that has a [partner] table."""
    rules = book(match(key, replace(ENFORCED, subdomains=subdomains), partner=partner))
    assert ask(rules, sender).reason == reason


@pytest.mark.parametrize("key", ["kim.city.example", "city.example"])
def test_own_and_closed(key: str) -> None:
    """An own domain is not enforced by closed_domains either."""
    rules = replace(book(), guards={key: match(key)})
    assert ask(rules, "u@kim.city.example").reason == "own-domain"


# --- Route hosts

ROUTE = "esmtp:[198.51.100.7],mx.p.example:[IPv6:2001:db8:7::1]:[::ffff:198.51.100.8]:[gw.p.example]"


@pytest.mark.parametrize(
    ("client", "value", "allow", "passes"),
    [
        (RELAY, ROUTE, True, True),
        (RELAY, ROUTE, False, False),
        ("2001:db8:7::1", ROUTE, True, True),
        ("198.51.100.8", ROUTE, True, True),
        ("::ffff:198.51.100.7", ROUTE, True, True),
        ("198.51.100.9", ROUTE, True, False),
        ("unknown", ROUTE, True, False),
        (RELAY, "", True, False),
        (RELAY, "error:5.7.1:[198.51.100.7]", True, False),
        (RELAY, "smtp:mx.p.example", True, False),
    ],
)
def test_route_hosts(client: str, value: str, allow: bool, passes: bool) -> None:
    """The address literals of the partner's own route may send, where the rule says so."""
    inbound = Inbound("enforce", allow_from=(IPv4Network("192.0.2.0/24"),), allow_route_hosts=allow)
    rules = book(match("p.example", inbound, value=value))
    assert ask(rules, client=client).reason == ("ok" if passes else "address")
    assert ask(rules, client=INSIDE).reason == "ok"


# --- Certificates

MD5, SHA256 = "0f" * 16, "0f" * 32


@pytest.mark.parametrize(
    ("pin", "shown", "cert"),
    [
        (CertificatePin(fingerprint=SHA256), ClientCertificate(fingerprint=SHA256), True),
        (CertificatePin(fingerprint=SHA256), ClientCertificate(pubkey_fingerprint=SHA256), False),
        (CertificatePin(pubkey_fingerprint=SHA256), ClientCertificate(pubkey_fingerprint=SHA256), True),
        (CertificatePin(pubkey_fingerprint=SHA256), ClientCertificate(fingerprint=SHA256), False),
        (CertificatePin(fingerprint=SHA256), ClientCertificate(fingerprint=MD5), False),
        (CertificatePin(fingerprint=MD5), ClientCertificate(fingerprint=SHA256), False),
        (CertificatePin(fingerprint=SHA256), ClientCertificate(fingerprint=SHA256[:-2] + "00"), False),
        (CertificatePin(fingerprint=SHA256), ClientCertificate(), False),
        (CertificatePin(fingerprint=SHA256), ClientCertificate(fingerprint=None), None),
        (CertificatePin(subject="mx.p.example"), ClientCertificate("mx.p.example"), True),
        (CertificatePin(subject="MX.p.example"), ClientCertificate("mx.P.example"), True),
        (CertificatePin(subject="mx.p.example"), ClientCertificate("mx.p.example."), False),
        (CertificatePin(subject="mx.p.example"), ClientCertificate("xmx.p.example"), False),
        (CertificatePin(subject="*.p.example"), ClientCertificate("mx.p.example"), False),
        (CertificatePin(subject="mx.p.example"), ClientCertificate("*.p.example"), False),
        (CertificatePin(subject="mx.p.example"), ClientCertificate("", "", SHA256, SHA256), False),  # not verified
        (CertificatePin(subject="Köln"), ClientCertificate("Köln"), True),
        (CertificatePin(subject="Köln"), ClientCertificate("kÖln"), False),  # ASCII case alone is ignored
        (CertificatePin(subject="Köln"), ClientCertificate("köln"), True),
        (CertificatePin(subject="kim"), ClientCertificate("\u212aim"), False),  # the Kelvin sign is no k
        (CertificatePin(subject="mx.p.example"), ClientCertificate(None), None),
        (CertificatePin(issuer="Closed Net CA"), ClientCertificate("x", "closed net ca"), True),
        (CertificatePin(issuer="Closed Net CA"), ClientCertificate("Closed Net CA", "x"), False),
        (CertificatePin(SHA256, MD5, "s", "i"), ClientCertificate("S", "I", SHA256, MD5), True),
        (CertificatePin(SHA256, MD5, "s", "i"), ClientCertificate("x", "I", SHA256, MD5), False),
        (CertificatePin(SHA256, MD5, "s", "i"), ClientCertificate("S", "x", SHA256, MD5), False),
        (CertificatePin(SHA256, MD5, "s", "i"), ClientCertificate("S", "I", MD5, MD5), False),
        (CertificatePin(SHA256, MD5, "s", "i"), ClientCertificate("S", "I", SHA256, SHA256), False),
        (CertificatePin(SHA256, MD5, "s", "i"), ClientCertificate("S", "I", None, MD5), None),
        (CertificatePin(SHA256, MD5, "s", "i"), ClientCertificate("x", "I", None, None), False),
    ],
)
def test_pin(pin: CertificatePin, shown: ClientCertificate, cert: bool | None) -> None:
    """All that a pin has must match, whole."""
    rules = book(match("p.example", Inbound("enforce", "cert", certificates=(pin,))))
    verdict = ask(rules, certificate=shown, encrypted=True)
    assert verdict.facts.cert is cert
    assert verdict.reason == {True: "ok", False: "certificate", None: "unknown-fact"}[cert]


@pytest.mark.parametrize(
    ("shown", "cert"),
    [
        (ClientCertificate("b"), True),
        (ClientCertificate("c"), False),
        (ClientCertificate("c", fingerprint=None), None),
        (ClientCertificate("b", fingerprint=None), True),
        (ClientCertificate("c", fingerprint=SHA256), True),
    ],
)
def test_pins(shown: ClientCertificate, cert: bool | None) -> None:
    """One of several pins is enough."""
    pins = (CertificatePin(fingerprint=SHA256), CertificatePin(subject="a"), CertificatePin(subject="b"))
    rules = book(match("p.example", Inbound("enforce", "cert", certificates=pins)))
    assert ask(rules, certificate=shown).facts.cert is cert


# --- The text

FIELDS = "{domain} | {network} | {reason} | {client_address} | {generation} | {{}}"


@pytest.mark.parametrize("mode", ["enforce", "defer", "report"])
def test_own_text(mode: Mode) -> None:
    """The administrator's text, with its fields."""
    rules = book(match("p.example", replace(ENFORCED, mode=mode, reject_text=FIELDS)))
    verdict = ask(rules, "u@P.example", "::ffff:203.0.113.9")
    assert verdict.dsn == {"enforce": "5.7.1", "defer": "4.7.1", "report": ""}[mode]
    assert verdict.text == "p.example | Netz | address | 203.0.113.9 | 7 | {}"


@pytest.mark.parametrize(
    ("require", "require_tls", "client", "reason"),
    [("ip", False, OUTSIDE, "address"), ("cert", False, OUTSIDE, "certificate"), ("ip", True, INSIDE, "tls")],
)
def test_our_text(require: Require, require_tls: bool, client: str, reason: str) -> None:
    """Our own names the domain, the network and the client."""
    inbound = Inbound("enforce", require, ALLOWED, certificates=PIN, require_tls=require_tls)
    verdict = ask(book(match("p.example", inbound)), client=client)
    assert verdict.reason == reason
    for word in ("p.example", "Netz", client):
        assert word in verdict.text


@pytest.mark.parametrize("client", ["unknown", "", "203.0.113.9\nOK", "\x00\x1b[31m", "{domain}", "x" * 60_000])
def test_hostile_client(client: str) -> None:
    """A client's address that is none is not repeated."""
    assert "unknown" in ask(book(P), client=client).text
    assert ask(book(P), client=client).text.isprintable()


@pytest.mark.parametrize("label", ["x" * 5000, "ö" * 300, "{client_address}", "{0}", "%s", "a\nb", "\x7f", "\u202e"])
def test_hostile_domain(label: str) -> None:
    """Whatever the domain is, the answer is one line, of bounded length, and no format string."""
    rules = book(match(".p.example", replace(ENFORCED, reject_text="{domain} is not yours")))
    verdict = ask(rules, f"u@{label}.p.example")
    assert (verdict.outcome, verdict.dsn) == ("reject", "5.7.1")
    assert 0 < len(verdict.text.encode()) <= 512
    assert verdict.text.isprintable()
    assert "203.0.113.9" not in verdict.text


@pytest.mark.parametrize("length", [400, 600])
def test_long_text(length: int) -> None:
    """A text that is too long is cut between characters."""
    rules = book(match("p.example", replace(ENFORCED, reject_text="ö" * (length // 2))))
    text = ask(rules).text
    assert set(text) == {"ö"}
    assert len(text.encode()) == min(length, 512)


TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["p.example", "u@p.example", "u@x.p.example", "u@q.example", "u@x.q.example", "u%p.example", ""]),
)
TELL = st.one_of(st.none(), st.just(""), st.just("a"), st.just(PUBKEY), st.text(max_size=5))
ENVELOPES = st.builds(
    Envelope,
    sender=TEXTS,
    client_address=st.one_of(st.sampled_from([INSIDE, OUTSIDE, "", "unknown"]), st.text(max_size=20)),
    sasl_username=st.sampled_from(["", "joe"]),
    certificate=st.builds(ClientCertificate, TELL, TELL, TELL, TELL),
    encrypted=st.sampled_from([True, False, None]),
)
INBOUNDS = st.builds(
    Inbound,
    mode=st.sampled_from(get_args(Mode)),
    require=st.sampled_from(get_args(Require)),
    allow_from=st.sampled_from([(), ALLOWED]),
    allow_route_hosts=st.booleans(),
    certificates=st.sampled_from([(), PIN, (CertificatePin(subject="a"),)]),
    require_tls=st.booleans(),
    subdomains=st.booleans(),
    reject_text=st.sampled_from(["", "{domain}", "OK", "250", "DUNNO", "{client_address} {reason}"]),
)
ACTION = re.compile(r"DUNNO|REJECT 5\.7\.1 .+|DEFER 4\.7\.1 .+|WARN .+")


SEVERAL = "u@STRA\u1e9eE.example"  # the capital ß is ß for some, and ss for others
_LAX = match("strasse.example", Inbound("enforce", allow_from=(ip_network("203.0.113.0/24"),)))
_OFF = match("strasse.example", Inbound("off"))
_DEFER = match("strasse.example", Inbound("defer"))
_REPORT = match("xn--strae-oqa.example", Inbound("report"))


@pytest.mark.parametrize(
    ("rules", "client", "outcome", "domain"),
    [
        # The sender below may be queued with either domain.
        (book(match("xn--strae-oqa.example"), _LAX), OUTSIDE, "reject", "xn--strae-oqa.example"),
        (book(match("xn--strae-oqa.example"), _LAX), INSIDE, "reject", "strasse.example"),
        (book(match("xn--strae-oqa.example"), _OFF), OUTSIDE, "reject", "xn--strae-oqa.example"),
        (book(_REPORT, _DEFER), OUTSIDE, "defer", "strasse.example"),
        (book(_REPORT, _OFF), OUTSIDE, "report", "xn--strae-oqa.example"),
        (book(_LAX), OUTSIDE, "accept", "strasse.example"),
        (book(_LAX, own=DomainSet(["xn--strae-oqa.example"])), INSIDE, "reject", "strasse.example"),
        (book(own=DomainSet(["strasse.example"])), OUTSIDE, "none", ""),
        (book(), OUTSIDE, "none", ""),
    ],
)
def test_the_gravest_reading_counts(rules: Book, client: str, outcome: str, domain: str) -> None:
    """Which of them comes first makes no difference."""
    found = ask(rules, SEVERAL, client)
    assert (found.outcome, found.domain) == (outcome, domain)


@given(ENVELOPES, INBOUNDS, st.sampled_from(["", "smtp:[192.0.2.1]", "error:4.7.0:x"]), st.booleans())
def test_any_mail(envelope: Envelope, inbound: Inbound, value: str, exempt: bool) -> None:
    """No mail and no rule bring forth an answer that permits, that is empty, or that is more than one line."""
    matches = match("p.example", inbound, value=value), match(".q.example", inbound, partner="q.example", network="")
    try:
        verdict = decide(envelope, book(*matches, exempt_sasl=exempt))
    except SenderError:
        return
    assert ACTION.fullmatch(action_of(verdict))
    assert (action_of(verdict) == "DUNNO") is (verdict.outcome in ("accept", "none"))
    assert bool(verdict.text) is (verdict.outcome in ("reject", "defer", "report"))
    assert verdict.dsn == {"reject": "5.7.1", "defer": "4.7.1"}.get(verdict.outcome, "")
    if verdict.outcome in ("reject", "defer", "report"):
        assert inbound.mode == {"reject": "enforce", "defer": "defer", "report": "report"}[verdict.outcome]
        assert verdict.reason in ("address", "certificate", "tls")
    if verdict.reason == "unknown-fact":
        assert None in (verdict.facts.cert, verdict.facts.tls)


def test_what_a_daemon_remembers_is_little() -> None:
    """Whatever lists and clients bring: an hour of them, or a year, fills no cache beyond a thousand."""
    caches = {
        f"{name}.{thing}": value.cache_info
        for name, module in list(sys.modules.items())
        if name.startswith("closedmail.")
        for thing, value in vars(module).items()
        if hasattr(value, "cache_info")
    }
    before = {name: info().currsize for name, info in caches.items()}
    inbound = Inbound("report", allow_route_hosts=True, certificates=PIN)
    for number in range(3_000):
        address = f"10.{number >> 8}.{number & 255}.1"
        rules = book(match(f"xn--p{number}-kva.example", inbound, value=f"esmtp:[{address}]"))
        ask(rules, sender=f"u@pä{number}.example", client=f"2001:db8::{number:x}")
        ask(rules, sender=f"u@xn--p{number}-kva.example", client=address)
    grown = {name: size - before[name] for name, info in caches.items() if (size := info().currsize) > before[name]}
    assert "closedmail.core.address._parse" in grown
    assert max(grown.values()) <= 1024, grown
