"""A milter's session: what is answered when, what is changed, and that nothing of one message is left for the next."""

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import Book

from closedmail.core.model import CertificatePin, Inbound, Rewriting
from closedmail.core.rule import Rule
from closedmail.inbound.counters import Counters
from closedmail.inbound.facts import ClientCertificate
from closedmail.inbound.header_sender import header_domains
from closedmail.inbound.partner import Match
from closedmail.milter import milter_session
from closedmail.milter.milter_macros import MailMacros
from closedmail.milter.milter_reply import UNREADABLE
from closedmail.milter.milter_service import MilterService
from closedmail.milter.milter_session import MilterSession, Response, internal_form

INSIDE, OUTSIDE = "192.0.2.1", "203.0.113.9"
ID = "gw.city.example"
INBOUND = Inbound("enforce", allow_from=(ip_network("192.0.2.0/24"),), header_from="enforce")


def partner(key: str, **changes: object) -> Match:
    inbound = replace(INBOUND, **changes)  # type: ignore[arg-type]
    network = "" if key == "alone.example" else "ndb"
    return Match(key, Rule(network, "Netz", inbound, None, key if not network else ""))


BOOK = Book(
    {
        item.key: item
        for item in (
            partner("p.example"),
            partner("q.example"),
            partner("defer.example", mode="defer"),
            partner("report.example", mode="report"),
            partner("off.example", mode="off"),
            partner("alone.example"),
            partner(".below.example"),
            partner("print.example", require="cert", certificates=(CertificatePin(fingerprint="ab" * 32),)),
        )
    }
)


def macros(
    client: str = "",
    *senders: str,
    sasl: str = "",
    certificate: ClientCertificate = ClientCertificate(),  # noqa: B008, it is frozen
) -> MailMacros:
    return MailMacros(certificate, False, sasl, client, senders)


def send(
    session: MilterSession,
    sender: str,
    *fields: tuple[str, str],
    book: Book | None = BOOK,
    at_end: Book | None = BOOK,
    read: MailMacros | None = None,
) -> tuple[Response, Response | None]:
    """One message: the answer to a recipient, and to the message where it came to that."""
    session.mail(sender.encode("utf-8", "surrogateescape"), read or macros(), book)
    first = session.recipient()
    if first.reply:
        session.abort()
        return first, None
    for name, value in fields:
        session.header(name, value.encode())
    return first, session.end(at_end)


def session_of(client: str) -> MilterSession:
    session = MilterSession(ID)
    session.connect(client)
    return session


FROM_P, FROM_STRANGER = ("From", "u@p.example"), ("From", "u@stranger.example")
MARK = f"{ID}; x-closedmail=pass ({{}}) smtp.mailfrom={{}}"


@pytest.mark.parametrize(
    ("sender", "client", "fields", "code", "mark", "outcomes"),
    [
        # code: at RCPT, or at the end where it begins with a dot
        ("<u@p.example>", INSIDE, [FROM_P], "", ("ndb", "p.example"), ["accept", "accept"]),
        ("<u@p.example>", INSIDE, [], "", ("ndb", "p.example"), ["accept"]),
        ("<u@p.example>", INSIDE, [FROM_STRANGER], "", ("ndb", "p.example"), ["accept"]),
        ("<u@a.below.example>", INSIDE, [], "", ("ndb", "a.below.example"), ["accept"]),
        ("<u@alone.example>", INSIDE, [], "", ("alone.example", "alone.example"), ["accept"]),
        ("<u@off.example>", INSIDE, [], "", ("ndb", "off.example"), ["accept"]),
        ("<u@off.example>", OUTSIDE, [], "", None, ["accept"]),
        ("<u@p.example>", OUTSIDE, [], "550", None, ["reject"]),
        ("<u@defer.example>", OUTSIDE, [], "451", None, ["defer"]),
        ("<u@report.example>", OUTSIDE, [], "", None, ["report"]),
        ("<u@stranger.example>", OUTSIDE, [FROM_STRANGER], "", None, []),
        ("<>", OUTSIDE, [FROM_STRANGER], "", None, []),
        ("<u@stranger.example>", OUTSIDE, [FROM_P], ".550", None, ["reject"]),
        ("<>", OUTSIDE, [FROM_P], ".550", None, ["reject"]),
        ("<u@city.example>", OUTSIDE, [FROM_P], ".550", None, ["reject"]),
        ("<>", OUTSIDE, [("Sender", "u@p.example")], ".550", None, ["reject"]),
        ("<>", OUTSIDE, [("sEnDeR ", "u@p.example")], ".550", None, ["reject"]),
        ("<>", OUTSIDE, [("Reply-To", "u@p.example"), ("Resent-From", "u@p.example")], "", None, []),
        ("<>", OUTSIDE, [("From", "u@defer.example")], ".451", None, ["defer"]),
        ("<>", INSIDE, [FROM_P], "", None, ["accept"]),  # a bounce: nobody's sender was proven
        ("<u@p.example>", INSIDE, [("From", "u@off.example")], "", ("ndb", "p.example"), ["accept", "accept"]),
        ("<u@report.example>", OUTSIDE, [FROM_P], ".550", None, ["reject"]),
        ("<u@\udcff.example>", OUTSIDE, [], "451", None, []),
        ("<u%p.example>", OUTSIDE, [], "550", None, ["reject"]),
        ('<"a b"@p.example>', OUTSIDE, [], "550", None, ["reject"]),
        ('<"u@p.example"@stranger.example>', OUTSIDE, [], "", None, []),
        ("<@x.example:u@p.example>", OUTSIDE, [], "550", None, ["reject"]),
        ("u@p.example", OUTSIDE, [], "550", None, ["reject"]),
    ],
)
def test_messages(
    sender: str,
    client: str,
    fields: list[tuple[str, str]],
    code: str,
    mark: tuple[str, str] | None,
    outcomes: list[str],
) -> None:
    first, last = send(session_of(client), sender, *fields)
    ending = last or first
    assert (ending.reply.code if ending.reply else "") == code.removeprefix(".")
    assert (last is None) == code.isdigit()
    assert ending.mark == (MARK.format(*mark) if mark else None)
    assert [judged.verdict.outcome for judged in ending.judged] == outcomes
    if ending.reply and ending.judged:
        assert ending.reply.status == {"550": "5.7.1", "451": "4.7.1"}[ending.reply.code]
        assert "Mail from " in ending.reply.text


def test_every_reading_of_the_sender_counts() -> None:
    """What the MTA made of it as well as what the client wrote."""
    for given_, made in (("<u@p.example>", "u@stranger.example"), ("<u@stranger.example>", "u@p.example")):
        first, _ = send(session_of(OUTSIDE), given_, read=macros("", made))
        assert first.reply
    assert send(session_of(OUTSIDE), "<>", read=macros("", "u@p.example"))[0].reply is None


def test_the_address_of_the_macro_counts() -> None:
    """It is that of the message, where XCLIENT has changed it."""
    assert send(session_of(OUTSIDE), "<u@p.example>", read=macros(INSIDE))[0].reply is None
    assert send(session_of(INSIDE), "<u@p.example>", read=macros(OUTSIDE))[0].reply


def test_a_login_and_a_trusted_client_are_not_asked() -> None:
    _, last = send(session_of(OUTSIDE), "<u@p.example>", FROM_P, read=macros(sasl="joe"))
    assert last == Response()
    trusting = replace(BOOK, trusted=BOOK.table["p.example"].rule.allowed)
    _, last = send(session_of(INSIDE), "<u@p.example>", *[FROM_P] * 100, book=trusting, at_end=trusting)
    assert last == Response()


def test_forged_marks_are_removed_from_every_message() -> None:
    ours, other = f"{ID}; x-closedmail=pass", f"{ID}; spf=pass"
    fields = [
        *(("Authentication-Results", value) for value in (other, ours, other)),
        ("ARC-Authentication-Results", f"i=1; {ours}"),
        ("X-Authentication-Results", ours),
        *(("AUTHENTICATION-results ", value) for value in (ours, "mx.example; spf=pass")),
    ]
    for sender, client, book in (
        ("<u@p.example>", INSIDE, BOOK),
        ("<u@stranger.example>", OUTSIDE, BOOK),
        ("<>", OUTSIDE, replace(BOOK, header_from="off")),
    ):
        _, last = send(session_of(client), sender, *fields, book=book, at_end=book)
        assert last
        assert last.remove == (4, 2)
    _, last = send(session_of(OUTSIDE), "<u@p.example>", *fields, read=macros(sasl="joe"))
    assert last
    assert (last.remove, last.mark) == ((4, 2), None)


def test_more_results_than_are_looked_at_go() -> None:
    fields = [("Authentication-Results", "mx.example; spf=pass " + "x" * 1000)] * 300
    _, last = send(session_of(OUTSIDE), "<>", *fields)
    assert last
    assert last.remove[-1] == 257
    assert last.remove[0] == 300


def test_a_header_beyond_all_bounds() -> None:
    """Refused where some rule enforces headers, else passed without a mark."""
    fields = [("From", f"u{number}@s.example") for number in range(100)]
    _, last = send(session_of(INSIDE), "<u@p.example>", *fields)
    assert last
    assert last.reply
    assert (last.reply.code, bool(last.problem)) == ("550", True)
    reporting = replace(BOOK, header_from="report")
    _, last = send(session_of(INSIDE), "<u@p.example>", *fields, book=reporting, at_end=reporting)
    assert last
    assert (last.reply, last.mark, bool(last.problem)) == (None, None, True)
    _, last = send(session_of(OUTSIDE), "<>", ("From", "a" * 300_000))
    assert last
    assert last.reply


UNTOLD = ClientCertificate("", "", None, None)


def test_what_is_unknown_is_neither_refused_nor_marked() -> None:
    _, last = send(session_of(INSIDE), "<u@print.example>", FROM_P, read=macros(certificate=UNTOLD))
    assert last
    assert (last.reply, last.mark) == (None, None)
    assert [judged.verdict.reason for judged in last.judged] == ["unknown-fact", "ok"]
    read = macros(certificate=UNTOLD)
    _, last = send(session_of(INSIDE), "<u@p.example>", ("From", "u@print.example"), read=read)
    assert last
    assert (last.reply, last.mark) == (None, None)


def test_without_a_store_all_mail_waits() -> None:
    for sender in ("<u@p.example>", "<u@stranger.example>", "<>"):
        first, _ = send(session_of(INSIDE), sender, book=None)
        assert first == Response(UNREADABLE)
        _, last = send(session_of(INSIDE), sender, at_end=None)
        assert last == Response(UNREADABLE)


def test_out_of_order() -> None:
    """No message, no answer that lets one pass."""
    session = session_of(INSIDE)
    assert session.recipient() == Response(UNREADABLE)
    session.header(*("From", b"u@p.example"))
    assert session.end(BOOK) == Response(UNREADABLE)
    session.mail(b"<u@p.example>", macros(), BOOK)
    session.abort()
    assert session.end(BOOK) == Response(UNREADABLE)
    session.mail(b"<u@p.example>", macros(OUTSIDE), BOOK)
    ending = session.end(BOOK)  # an MTA that goes on, whatever was answered to RCPT
    assert ending.reply
    assert ending.reply.code == "550"


MESSAGES = st.tuples(
    st.sampled_from(["<>", "<u@p.example>", "<u@q.example>", "<u@report.example>", "<u@stranger.example>"]),
    st.lists(
        st.sampled_from(
            [FROM_P, FROM_STRANGER, ("Sender", "u@q.example"), ("Authentication-Results", f"{ID};x-closedmail")]
        ),
        max_size=3,
    ),
    st.sampled_from([INSIDE, OUTSIDE]),
    st.sampled_from(["send", "abort", "rset"]),
)


@given(st.lists(MESSAGES, max_size=6))
def test_nothing_is_left_for_the_next_message(
    messages: list[tuple[str, list[tuple[str, str]], str, str]],
) -> None:
    """Each is answered as it would be in a session of its own."""
    session = session_of("")
    for sender, fields, client, what in messages:
        if what == "send":
            alone = send(session_of(""), sender, *fields, read=macros(client))
            assert send(session, sender, *fields, read=macros(client)) == alone
        else:
            session.mail(sender.encode(), macros(client), BOOK)
            for name, value in fields:
                session.header(name, value.encode())
            if what == "abort":
                session.abort()


@pytest.mark.parametrize(
    ("external", "internal"),
    [
        ("<u@p.example>", "u@p.example"),
        ("u@p.example", "u@p.example"),
        ("<>", ""),
        ('<"a b"@p.example>', "a b@p.example"),
        ('<"u@p.example"@q.example>', "u@p.example@q.example"),
        ('<"a\\"b"@p.example>', 'a"b@p.example'),
        ('<"a"."b"@p.example>', "a.b@p.example"),
        ('<"u>"@p.example>', "u>@p.example"),
        ('<u@"p.example">', 'u@"p.example"'),
        ('<"u', '"u'),
        ("<u\\@q.example@p.example>", "u\\@q.example@p.example"),
        ("<@a,@b:u@p.example>", "@a,@b:u@p.example"),
    ],
)
def test_internal_form(external: str, internal: str) -> None:
    assert internal_form(external) == internal


def test_a_header_is_read_once_and_before_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading takes a while, and the generation is asked by one connection at a time. Other settings: read again."""
    read: list[Rewriting] = []

    def count(values: list[bytes], rewriting: Rewriting) -> tuple[str, ...]:
        read.append(rewriting)
        return header_domains(values, rewriting)

    monkeypatch.setattr(milter_session, "header_domains", count)
    session = session_of(OUTSIDE)
    for rewriting in (BOOK.rewriting, Rewriting(myorigin="other.example")):
        read.clear()
        session.mail(b"<v@stranger.example>", macros(), BOOK)
        session.header("From", b"u@p.example")
        session.read_header(rewriting)
        assert read == [rewriting]
        response = session.end(BOOK)
        assert response.reply
        assert set(read) == {rewriting, BOOK.rewriting}
        assert len(read) <= 2


def test_the_service_is_not_locked_while_a_header_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Store:
        def current(self) -> Book:
            return BOOK

    service = MilterService(Store(), lambda _: None, Counters(0), ID)  # type: ignore[arg-type]
    connection = service.connection()
    connection.connect(OUTSIDE)
    connection.mail(b"<v@stranger.example>", {})
    connection.header("From", b"u@p.example")
    locked: list[bool] = []

    def note(values: list[bytes], rewriting: Rewriting) -> tuple[str, ...]:
        locked.append(service._one.locked())
        return header_domains(values, rewriting)

    monkeypatch.setattr(milter_session, "header_domains", note)
    assert connection.end("").reply
    assert locked == [False]
