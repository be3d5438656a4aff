"""Mails joined from a log's lines, and what the rules would have done to them."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import Book

from closedmail.core.address import AddressSet
from closedmail.core.model import CertificatePin, Inbound, Mode
from closedmail.core.rule import Rule
from closedmail.inbound.facts import ClientCertificate
from closedmail.inbound.partner import Match
from closedmail.replay import received_mail, tally
from closedmail.replay.mail_log import Line
from closedmail.replay.received_mail import PLAIN, UNKNOWN, Link, Mail, Replay
from closedmail.replay.smtpd_events import Rejected, Shown
from closedmail.replay.tally import PartnerTally, Tally

TIME = "Nov 24 03:00:00"
CIPHER = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
PRINT, KEY = "AB:" * 31 + "AB", "0C:" * 31 + "0C"
SHOWS = f"mx[192.0.2.1]: subject_CN=mx.p.example, issuer=Closed Net CA, fingerprint={PRINT}, pkey_fingerprint={KEY}"
UNTOLD = ClientCertificate(None, None, None, None)
OPEN, SHUT = "connect from mx[192.0.2.1]", "disconnect from mx[192.0.2.1]"
COUNTED, SECRET = f"{SHUT} ehlo=1 commands=1", f"{SHUT} ehlo=2 starttls=1 commands=3"


def smtpd(text: str, pid: int = 1, *, tag: str = "postfix", host: str = "gw", time: str = TIME) -> Line:
    return Line(time, host.encode(), tag.encode(), b"smtpd", str(pid).encode(), text.encode())


def qmgr(queue_id: str, sender: str = "u@p.example", *, host: str = "gw") -> Line:
    text = f"{queue_id}: from=<{sender}>, size=3, nrcpt=1 (queue active)"
    return Line(TIME, host.encode(), b"postfix", b"qmgr", b"9", text.encode())


def client(queue_id: str, address: str = "192.0.2.1", more: str = "") -> str:
    return f"{queue_id}: client=mx[{address}]{more}"


def established(trust: str) -> str:
    return f"{trust} TLS connection established from mx[192.0.2.1]: {CIPHER}"


class Joined:
    """All that a log's lines come to."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.mails: list[Mail] = []
        self.refusals: list[Rejected] = []
        self.replay = Replay(self.mails.append, self.refusals.append)
        for line in lines:
            self.replay.feed(line)
        self.replay.finish()


def links(*lines: Line) -> list[Link]:
    return [mail.link for mail in Joined(lines).mails]


# The join


def test_a_mail() -> None:
    found = Joined([smtpd(OPEN), smtpd(client("1A", more=", sasl_username=joe")), qmgr("1A"), smtpd(COUNTED)])
    assert found.mails == [Mail("1A", TIME, "u@p.example", "192.0.2.1", "joe", PLAIN)]
    assert (found.replay.first, found.replay.last) == (TIME, TIME)


@pytest.mark.parametrize(
    ("lines", "link"),
    [
        ([established("Anonymous")], Link(True, ClientCertificate())),
        ([established("Untrusted")], Link(True, ClientCertificate("", "", None, None), Shown(False))),
        ([established("Trusted")], Link(True, UNTOLD, Shown(True))),
        (
            [SHOWS, established("Trusted")],
            Link(
                True,
                ClientCertificate("mx.p.example", "Closed Net CA", "ab" * 32, "0c" * 32),
                Shown(True, "mx.p.example", "Closed Net CA", "ab" * 32, "0c" * 32),
            ),
        ),
        (
            # Names of a certificate that nobody verified are shown, and prove nothing.
            [SHOWS, established("Untrusted")],
            Link(
                True,
                ClientCertificate("", "", "ab" * 32, "0c" * 32),
                Shown(False, "mx.p.example", "Closed Net CA", "ab" * 32, "0c" * 32),
            ),
        ),
    ],
)
def test_what_the_log_tells_of_tls(lines: list[str], link: Link) -> None:
    """At once, whether or not the session ends."""
    start = [smtpd(OPEN), *map(smtpd, lines), smtpd(client("1A"))]
    assert links(*start, qmgr("1A")) == [link]
    assert links(*start, smtpd(SECRET), qmgr("1A")) == [link]


@pytest.mark.parametrize(
    ("end", "tag", "link"),
    [
        (COUNTED, "postfix", PLAIN),
        (SECRET, "postfix", Link(True, UNTOLD)),
        (SHUT, "postfix", UNKNOWN),
        (COUNTED, "postfix/smtps", Link(True, UNTOLD)),
        (COUNTED, "postfix/submissions", Link(True, UNTOLD)),
        (OPEN, "postfix", UNKNOWN),
        ("lost connection after DATA from mx[192.0.2.1]", "postfix", UNKNOWN),
    ],
)
def test_what_a_session_without_a_tls_line_tells_at_its_end(end: str, tag: str, link: Link) -> None:
    mail, sender = smtpd(client("1A"), tag=tag), qmgr("1A")
    for middle in ([mail, sender, smtpd(end, tag=tag)], [mail, smtpd(end, tag=tag), sender]):
        assert links(smtpd(OPEN, tag=tag), *middle) == [link]


def test_mail_before_starttls_was_plain() -> None:
    first, second = [smtpd(client("1A")), qmgr("1A")], [smtpd(client("1B")), qmgr("1B")]
    tls = smtpd(established("Anonymous"))
    assert links(smtpd(OPEN), *first, tls, *second) == [PLAIN, Link(True, ClientCertificate())]
    assert links(smtpd(OPEN), first[0], tls, first[1], *second) == [PLAIN, Link(True, ClientCertificate())]


def test_one_session_says_nothing_of_the_next() -> None:
    first = [smtpd(OPEN), smtpd(SHOWS), smtpd(established("Trusted")), smtpd(client("1A")), qmgr("1A"), smtpd(SECRET)]
    second = [smtpd(OPEN), smtpd(client("1B")), qmgr("1B"), smtpd(COUNTED)]
    third = [smtpd(OPEN), smtpd(established("Trusted")), smtpd(client("1C")), qmgr("1C"), smtpd(SECRET)]
    assert links(*first, *second, *third)[1:] == [PLAIN, Link(True, UNTOLD, Shown(True))]


def test_sessions_of_many_processes_services_and_hosts() -> None:
    """The same process id, and the same queue id, of two hosts are not the same."""
    places = [("postfix", "gw", 1), ("postfix", "gw", 2), ("postfix/submission", "gw", 1), ("postfix", "two", 1)]
    lines = []
    for step in ("open", "tls", "mail", "end"):
        for number, (tag, host, pid) in enumerate(places):
            queue_id = f"A{number % 3}"
            text = {
                "open": OPEN,
                "tls": established("Anonymous" if number % 2 else "Trusted"),
                "mail": client(queue_id, f"192.0.2.{number}"),
                "end": SECRET,
            }[step]
            lines.append(smtpd(text, pid, tag=tag, host=host))
    lines += [qmgr(f"A{number % 3}", f"{number}@p.example", host=host) for number, (_, host, _) in enumerate(places)]
    found = Joined(lines).mails
    assert [(mail.sender, mail.address, mail.link.shown is None) for mail in found] == [
        ("0@p.example", "192.0.2.0", False),
        ("1@p.example", "192.0.2.1", True),
        ("2@p.example", "192.0.2.2", False),
        ("3@p.example", "192.0.2.3", True),
    ]


def test_a_queue_id_comes_again() -> None:
    again = [smtpd(OPEN), smtpd(client("1A", "192.0.2.2")), qmgr("1A", "v@p.example")]
    unfinished = [smtpd(OPEN), smtpd(client("1A"))]
    assert [mail.address for mail in Joined([*unfinished, *again]).mails] == ["192.0.2.2"]
    assert [mail.address for mail in Joined([*unfinished, qmgr("1A"), *again]).mails] == ["192.0.2.1", "192.0.2.2"]


def test_a_mail_that_is_tried_again_counts_once_and_our_own_not_at_all() -> None:
    lines = [smtpd(OPEN), smtpd(client("1A")), qmgr("1A"), qmgr("1A"), qmgr("1B")]
    assert len(Joined(lines).mails) == 1


def test_a_log_that_begins_in_the_middle() -> None:
    assert links(smtpd(client("1A")), qmgr("1A"), smtpd(SECRET)) == [Link(True, UNTOLD)]
    assert links(qmgr("1A"), smtpd(SHUT)) == []


def test_proxy_filter() -> None:
    tail = "from=<u@p.example> to=<x@c.example> proto=ESMTP helo=<mx>"
    back = smtpd("1B: client=unknown[127.0.0.1], orig_client=mx[192.0.2.1]", 2)
    accepted = smtpd(f"proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok; {tail}")
    found = Joined([smtpd(OPEN), smtpd(client("NOQUEUE")), back, accepted, accepted, qmgr("1B"), smtpd(COUNTED)])
    assert found.mails == [Mail("", TIME, "u@p.example", "192.0.2.1", "", PLAIN)]
    assert found.replay.handed_back == 1


def test_a_relay_that_says_whom_it_has_it_from_is_the_client() -> None:
    found = Joined([smtpd(client("1B", "192.0.2.7", ", orig_client=mx[203.0.113.1]")), qmgr("1B")])
    assert [mail.address for mail in found.mails] == ["192.0.2.7"]


def test_refusals_once_for_each_mail() -> None:
    def refused(sender: str, recipient: str) -> Line:
        tail = f"from=<{sender}> to=<{recipient}> proto=ESMTP helo=<mx>"
        return smtpd(f"NOQUEUE: reject: RCPT from mx[192.0.2.1]: 554 5.7.1 no; {tail}")

    found = Joined([smtpd(OPEN), refused("a@p.example", "x"), refused("a@p.example", "y"), refused("b@p.example", "x")])
    assert [refusal.sender for refusal in found.refusals] == ["a@p.example", "b@p.example"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given up is what came first, and a mail that no longer waits is judged by what is known of it."""
    for name in ("SESSIONS", "MAILS", "WAITING"):
        monkeypatch.setattr(received_mail, name, 10)
    joined = Joined([])
    for number in range(100):
        for line in (smtpd(OPEN, number), smtpd(client(f"A{number}"), number)):
            joined.replay.feed(line)
    sizes = [len(each) for each in (joined.replay._sessions, joined.replay._mails)]
    assert sizes == [10, 10]
    for number in range(100):
        joined.replay.feed(qmgr(f"A{number}"))
    assert not joined.mails
    for number in range(100, 120):
        for line in (smtpd(client(f"A{number}"), 99), qmgr(f"A{number}")):
            joined.replay.feed(line)
    assert len(joined.mails) == 20
    joined.replay.feed(smtpd(COUNTED, 99))
    assert [mail.queue_id for mail in joined.mails if mail.link == PLAIN]


events = st.sampled_from(
    [OPEN, SHUT, COUNTED, SECRET, SHOWS, established("Trusted"), established("Anonymous"), client("NOQUEUE")]
)


@given(st.lists(st.tuples(st.integers(0, 3), events | st.integers(0, 5)), max_size=60), st.data())
def test_sessions_are_never_mixed(steps: list[tuple[int, str | int]], data: st.DataObject) -> None:
    """Each process has an address and a sender of its own, whatever order the lines come in."""
    lines = []
    for pid, step in steps:
        if isinstance(step, int):
            lines.append(smtpd(client(f"A{pid}{step}", f"192.0.2.{pid}"), pid))
            lines.append(qmgr(f"A{pid}{step}", f"{pid}@p.example"))
        else:
            lines.append(smtpd(step, pid))
    found = Joined(data.draw(st.permutations(lines)))
    for mail in found.mails:
        assert mail.address == f"192.0.2.{mail.sender[0]}"
    assert len(found.mails) <= sum(isinstance(step, int) for _, step in steps)


# The tally

ALLOWED = (ip_network("192.0.2.0/28"),)
PIN = (CertificatePin(pubkey_fingerprint="0c" * 32),)


def rule(mode: Mode = "enforce", **inbound: object) -> Rule:
    return Rule("ndb", "Netz", replace(Inbound(mode, allow_from=ALLOWED), **inbound), None)  # type: ignore[arg-type]


BOOK = Book(
    {
        "p.example": Match("p.example", rule()),
        "report.example": Match("report.example", rule("report")),
        "off.example": Match("off.example", rule("off")),
        "defer.example": Match("defer.example", rule("defer")),
        "cert.example": Match("cert.example", rule(require="cert", certificates=PIN)),
        "either.example": Match("either.example", rule(require="ip or cert", certificates=PIN)),
        "tls.example": Match("tls.example", rule(require_tls=True)),
        "alone.example": Match("alone.example", Rule("", "Alone", Inbound("enforce"), None, "alone.example")),
    },
    trusted=AddressSet([ip_network("203.0.113.0/24")]),
)
RIGHT, WRONG = "192.0.2.1", "198.51.100.9"


def mail(sender: str, address: str = RIGHT, link: Link = PLAIN, *, sasl: str = "", time: str = TIME) -> Mail:
    return Mail("1A", time, sender, address, sasl, link)


def judged(*mails: Mail) -> Tally:
    found = Tally(BOOK)
    for each in mails:
        found.received(each)
    return found


def partner(*mails: Mail) -> PartnerTally:
    (found,) = judged(*mails).partners.values()
    return found


@pytest.mark.parametrize("mode", ["report", "off", "defer"])
def test_every_rule_is_asked_as_if_it_were_enforced(mode: Mode) -> None:
    found = partner(mail(f"u@{mode}.example"), mail(f"u@{mode}.example", WRONG))
    assert (found.mode, found.accept, found.reject) == (mode, 1, 1)
    assert list(found.rejects) == [("address", WRONG)]


@pytest.mark.parametrize(
    ("sender", "address", "link", "counts", "missing"),
    [
        ("u@p.example", RIGHT, UNKNOWN, (1, 0, 0), []),
        ("u@p.example", WRONG, UNKNOWN, (0, 1, 0), []),
        ("u@p.example", "unknown", UNKNOWN, (0, 1, 0), []),
        ("u@p.example", "::ffff:192.0.2.1", UNKNOWN, (1, 0, 0), []),
        ("u@tls.example", RIGHT, UNKNOWN, (0, 0, 1), ["tls"]),
        ("u@tls.example", WRONG, UNKNOWN, (0, 1, 0), []),
        ("u@tls.example", RIGHT, PLAIN, (0, 1, 0), []),
        ("u@cert.example", WRONG, UNKNOWN, (0, 0, 1), ["certificate"]),
        ("u@cert.example", WRONG, Link(True, UNTOLD, Shown(True)), (0, 0, 1), ["certificate"]),
        ("u@cert.example", WRONG, PLAIN, (0, 1, 0), []),
        ("u@either.example", RIGHT, UNKNOWN, (1, 0, 0), []),
        ("u@either.example", WRONG, UNKNOWN, (0, 0, 1), ["certificate"]),
        ("u@cert.example", WRONG, Link(True, ClientCertificate(pubkey_fingerprint="0c" * 32)), (1, 0, 0), []),
    ],
)
def test_what_a_log_does_not_tell_is_unknown_and_no_refusal(
    sender: str, address: str, link: Link, counts: tuple[int, int, int], missing: list[str]
) -> None:
    found = partner(mail(sender, address, link))
    assert (found.accept, found.reject, found.unknown) == counts
    assert list(found.missing) == missing


def test_mail_that_is_no_partners() -> None:
    found = judged(
        mail(""),
        mail("u@p.example", WRONG, sasl="joe"),
        mail("u@p.example", "203.0.113.5"),
        mail("u@city.example"),
        mail("u@q.example"),
        mail("u@k\udcf6ln.example"),
    )
    assert (found.messages, found.unreadable, found.partners) == (6, 1, {})
    assert found.others == {"null-sender": 1, "sasl": 1, "trusted": 1, "own-domain": 1, "not-listed": 1}


def test_refusals_are_counted_apart() -> None:
    found = judged()
    for sender, for_good in (("u@p.example", True), ("u@p.example", False), ("u@q.example", True), (None, True)):
        found.rejected(Rejected(sender, WRONG, for_good))
    assert (found.messages, found.refused, found.deferred) == (0, 3, 1)
    tallied = found.partners["p.example"]
    assert (tallied.refused, tallied.deferred, tallied.clients) == (1, 1, {})


def test_json() -> None:
    link = Link(True, ClientCertificate(), Shown(False, "a", "b", "ab", "0c"))
    found = partner(mail("u@p.example", WRONG, link), *[mail("u@p.example")] * 2, mail("u@p.example", "unknown"))
    assert found.to_json(several_days=False) == {
        "network": "ndb",
        "mode": "enforce",
        "accept": 2,
        "reject": 2,
        "unknown": 0,
        "refused": 0,
        "deferred": 0,
        "clients": {RIGHT: 2, WRONG: 1, "unknown": 1},
        "allow_from": [RIGHT, WRONG],
        "doubtful": [WRONG],
        "rejects": [
            {"reason": "address", "client": WRONG, "count": 1, "queue_id": "1A", "time": TIME},
            {"reason": "address", "client": "unknown", "count": 1, "queue_id": "1A", "time": TIME},
        ],
        "missing": {},
        "certificates": [
            {
                "trusted": False,
                "subject": "a",
                "issuer": "b",
                "fingerprint": "ab",
                "pubkey_fingerprint": "0c",
                "count": 1,
            }
        ],
    }
    assert partner(mail("u@alone.example")).to_json(several_days=False)["network"] is None


def test_addresses_are_in_the_order_of_numbers() -> None:
    addresses = ["2001:db8::1", "192.0.2.10", "192.0.2.9", "unknown"]
    assert partner(*(mail("u@p.example", each) for each in addresses)).addresses == [
        "192.0.2.9",
        "192.0.2.10",
        "2001:db8::1",
    ]


def test_doubtful_addresses() -> None:
    later = "Nov 25 03:00:00"
    flood = [mail("u@p.example", "198.51.100.1")] * 50
    steady = [mail("u@p.example", "198.51.100.2", time=time) for time in (TIME, TIME, later)]
    few = [mail("u@p.example", "198.51.100.3", time=time) for time in (TIME, later)]
    found = judged(*flood, *steady, *few, mail("u@p.example"))
    tallied = found.partners["p.example"]
    assert found.several_days
    assert tallied.doubtful(True) == ["198.51.100.1", "198.51.100.3"]
    assert tallied.doubtful(False) == ["198.51.100.3"]


def test_a_botnet_costs_no_more_memory_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST_CLIENTS", 3)
    monkeypatch.setattr(tally, "MOST_CERTIFICATES", 2)
    link = [Link(True, ClientCertificate(), Shown(False, fingerprint=str(number))) for number in range(10)]
    found = partner(*(mail("u@p.example", f"198.51.100.{number}", link[number]) for number in range(10)))
    assert (len(found.clients), found.clients["other"].mails, len(found.certificates)) == (4, 7, 2)
    assert found.addresses == ["198.51.100.0", "198.51.100.1", "198.51.100.2"]
