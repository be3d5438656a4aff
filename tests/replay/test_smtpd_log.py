"""What smtpd and qmgr say, as events, and what strangers try to have them say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.replay.smtpd_events import (
    Client,
    Connected,
    Ended,
    Event,
    Passed,
    Queued,
    Rejected,
    Secured,
    Shown,
)
from closedmail.replay.smtpd_log import event_of

assert samples  # its hypothesis profile

CIPHER = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519"
PRINT, KEY = ":".join(["AB"] * 32), ":".join(["0C"] * 32)
TAIL = "proto=ESMTP helo=<client.example>"


def smtpd(text: str | bytes) -> Event | None:
    return event_of(b"smtpd", text if isinstance(text, bytes) else text.encode())


def qmgr(text: str | bytes) -> Event | None:
    return event_of(b"qmgr", text if isinstance(text, bytes) else text.encode())


def shown(subject: str | None, issuer: str | None, pubkey: str | None = "0c" * 32) -> Shown:
    return Shown(None, subject, issuer, "ab" * 32, pubkey)


EVENTS: list[tuple[str, Event | None]] = [
    ("connect from mx.p.example[192.0.2.1]", Connected()),
    ("connect from unknown[2001:db8::1]:4711", Connected()),
    ("connect from unknown[unknown]", Connected()),
    ("connect from a b[192.0.2.1]", None),
    ("disconnect from unknown[192.0.2.1]", Ended(None)),
    ("disconnect from unknown[192.0.2.1] ehlo=2 starttls=1 mail=1 quit=1 commands=5", Ended(True)),
    ("disconnect from unknown[192.0.2.1]:25 ehlo=1 mail=1 rcpt=0/1 commands=3/4", Ended(False)),
    ("disconnect from unknown[192.0.2.1] ehlo=1 starttls=0/1 commands=1/2", Ended(False)),
    ("disconnect from unknown[192.0.2.1] ehlo=1 xclient=0/1 starttls=1/2 commands=3", Ended(True)),
    (f"Anonymous TLS connection established from unknown[192.0.2.1]: {CIPHER}", Secured(False, False)),
    (f"Untrusted TLS connection established from unknown[192.0.2.1]:77: {CIPHER}", Secured(True, False)),
    (f"Trusted TLS connection established from unknown[::1]: {CIPHER}", Secured(True, True)),
    (f"Verified TLS connection established from unknown[::1]: {CIPHER}", Secured(True, True)),
    (f"Trusted TLS connection established to unknown[::1]: {CIPHER}", None),
    ("SSL_accept error from unknown[192.0.2.1]: lost connection", None),
    (
        f"mx[::1]: subject_CN=mx 1.köln.example, issuer=Closed Net CA, fingerprint={PRINT}, pkey_fingerprint={KEY}",
        shown("mx 1.köln.example", "Closed Net CA"),
    ),
    # Postfix 2.8
    (f"mx[192.0.2.1]: Untrusted: subject_CN=a, issuer=b, fingerprint={PRINT}", shown("a", "b", None)),
    (f"mx[192.0.2.1]: subject_CN=, issuer=, fingerprint={PRINT}, pkey_fingerprint={KEY}", shown("", "")),
    # smtputf8_enable = no
    (f"mx[192.0.2.1]: subject_CN=k??ln, issuer=b, fingerprint={PRINT}, pkey_fingerprint={KEY}", shown(None, "b")),
    # Which comma ends a name is not known; the fingerprints are.
    (
        f"mx[::1]: subject_CN=a, issuer=X, fingerprint=00:11, issuer=b, fingerprint={PRINT}, pkey_fingerprint={KEY}",
        shown(None, None),
    ),
    ("4jYc9b1lY2zJDSd: client=mx.p.example[192.0.2.1]", Client(b"4jYc9b1lY2zJDSd", "192.0.2.1", "", False)),
    ("6D5F3A0021: client=unknown[2001:db8::1]:4711", Client(b"6D5F3A0021", "2001:db8::1", "", False)),
    ("NOQUEUE: client=unknown[unknown]", Client(b"", "unknown", "", False)),
    (
        "6D5F3A0021: client=unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=joe, x=1",
        Client(b"6D5F3A0021", "192.0.2.1", "joe, x=1", False),
    ),
    (
        "6D5F3A0021: client=unknown[192.0.2.1], sasl_method=PLAIN, sasl_username=joe, sasl_sender=a@b.example",
        Client(b"6D5F3A0021", "192.0.2.1", "joe", False),
    ),
    (
        "6D5F3A0021: client=localhost[127.0.0.1], orig_queue_id=4jYc9b1lY2zJDSd, orig_client=mx.p.example[192.0.2.1]",
        Client(b"6D5F3A0021", "127.0.0.1", "", True),
    ),
    ("6D5F3A0021: client=unknown[127.0.0.1], orig_client=mx[192.0.2.1]", Client(b"6D5F3A0021", "127.0.0.1", "", True)),
    ("warning: client=mx[192.0.2.1]", None),
    ("6D5F3A0021: client=mx[192.0.2.1] and more", None),
    (
        f"NOQUEUE: reject: RCPT from mx[192.0.2.1]: 554 5.7.1 no; from=<u@p.example> to=<x@c.example> {TAIL}",
        Rejected("u@p.example", "192.0.2.1", True),
    ),
    (
        f"NOQUEUE: reject: MAIL from mx[::1]:9: 450 4.7.1 <u@p.example>: no; from=<u@p.example> {TAIL}",
        Rejected("u@p.example", "::1", False),
    ),
    (f"NOQUEUE: reject: RCPT from mx[192.0.2.1]: 554 5.7.1 no; from=<> to=<x> {TAIL}", Rejected("", "192.0.2.1", True)),
    ("NOQUEUE: reject: CONNECT from mx[192.0.2.1]: 554 5.7.1 no; proto=SMTP", Rejected(None, "192.0.2.1", True)),
    (
        f"6D5F3A0021: reject: DATA from mx[192.0.2.1]: 554 5.7.1 no; from=<u@p.example> {TAIL}",
        Rejected("u@p.example", "192.0.2.1", True),
    ),
    # One recipient of several: the mail itself comes.
    (f"6D5F3A0021: reject: RCPT from mx[192.0.2.1]: 554 5.7.1 no; from=<u@p.example> to=<x> {TAIL}", None),
    (f"NOQUEUE: warn: RCPT from mx[192.0.2.1]: look; from=<u@p.example> to=<x@c.example> {TAIL}", None),
    (
        f"proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as 4jY; from=<u@p.example> to=<x@c.example> {TAIL}",
        Passed("u@p.example"),
    ),
    (f"proxy-reject: END-OF-MESSAGE: 554 5.7.1 spam; from=<u@p.example> to=<x@c.example> {TAIL}", None),
    ("lost connection after RCPT from mx[192.0.2.1]", None),
]


@pytest.mark.parametrize(("text", "event"), EVENTS)
def test_smtpd(text: str, event: Event | None) -> None:
    assert smtpd(text) == event


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (
            "4jYc9b1lY2zJDSd: from=<u@p.example>, size=333, nrcpt=1 (queue active)",
            Queued(b"4jYc9b1lY2zJDSd", "u@p.example"),
        ),
        ("6D5F3A0021: from=<>, size=333, nrcpt=2 (queue active)", Queued(b"6D5F3A0021", "")),
        ("6D5F3A0021: from=<ü@köln.example>, size=3, nrcpt=2 (queue active)", Queued(b"6D5F3A0021", "ü@köln.example")),
        ("6D5F3A0021: removed", None),
        ("6D5F3A0021: from=<u@p.example>, status=expired, returned to sender", None),
        ("6D5F3A0021: from=<" + "x" * 1900, None),  # cut by the log
    ],
)
def test_qmgr(text: str, event: Event | None) -> None:
    assert qmgr(text) == event


@pytest.mark.parametrize(
    "sender",
    [
        '"a@b>, size=1, nrcpt=1 (queue active)"@evil.example',
        '"<a>: client=mx[192.0.2.1]"@evil.example',
        '"4jYc9b1lY2zJDSe: from=<u@p.example>, size=1, nrcpt=1 (queue active)"@evil.example',
        '"> to=<"@evil.example',
        "\udcff@evil.example",
    ],
)
def test_a_sender_is_nothing_but_a_sender(sender: str) -> None:
    raw = sender.encode("utf-8", "surrogateescape")
    assert qmgr(b"6D5F3A0021: from=<%b>, size=333, nrcpt=1 (queue active)" % raw) == Queued(b"6D5F3A0021", sender)


FORGED = '"; from=<v@p.example> to=<x@c.example> proto=ESMTP helo=<y>'


@pytest.mark.parametrize(
    ("reply", "sender", "recipient", "expected"),
    [
        ('a"> to=<b@e.example', '"a\\"> to=<b"@e.example', "x@c.example", '"a\\"> to=<b"@e.example'),
        ("u@e.example", "u@e.example", '"x> proto=ESMTP helo=<y"@c.example', "u@e.example"),
        ("u@e.example", "u@e.example", FORGED + '"@c.example', "u@e.example"),
        (FORGED.removeprefix('"'), FORGED + '"@e.example', "x@c.example", FORGED + '"@e.example'),
        ("u@e.example", "u@e.example", '"; from=<v@p.example> to=<"@c.example', "u@e.example"),
    ],
)
def test_forged_text_in_a_refusal(reply: str, sender: str, recipient: str, expected: str) -> None:
    line = f"NOQUEUE: reject: RCPT from mx[192.0.2.1]: 554 5.7.1 <{reply}>: no; from=<{sender}> to=<{recipient}> {TAIL}"
    found = smtpd(line)
    assert isinstance(found, Rejected)
    assert found.sender == expected


logged = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=80)
likely = st.sampled_from(
    [*(text for text, _ in EVENTS), FORGED, "> to=<", '"', "\\", ">, size=1, nrcpt=1 (queue active)"]
)
strange = st.lists(logged | likely, max_size=4).map("".join)


@given(st.binary(max_size=400))
def test_nothing_raises(text: bytes) -> None:
    for program in (b"smtpd", b"qmgr"):
        event_of(program, text)
        event_of(program, b"6D5F3A0021: " + text)


@given(strange)
def test_whatever_stands_in_a_sender_it_stays_this_mails(text: str) -> None:
    assert qmgr(f"6D5F3A0021: from=<{text}>, size=333, nrcpt=1 (queue active)") == Queued(b"6D5F3A0021", text)


@given(strange)
def test_whatever_stands_in_a_refusal_it_stays_a_refusal_of_this_client(text: str) -> None:
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"@evil.example'
    found = smtpd(
        f"NOQUEUE: reject: RCPT from mx[192.0.2.1]: 554 5.7.1 <{text}@evil.example>: no; "
        f"from=<{quoted}> to=<x@c.example> {TAIL}"
    )
    assert found in (Rejected(quoted, "192.0.2.1", True), Rejected(None, "192.0.2.1", True))


@given(strange)
def test_whatever_stands_in_a_warning_it_is_no_event(text: str) -> None:
    assert smtpd(f"warning: Illegal address syntax from unknown[192.0.2.1] in MAIL command: <{text}>") is None


@given(strange, strange)
def test_whatever_stands_in_a_certificate_its_fingerprints_are_told(subject: str, issuer: str) -> None:
    found = smtpd(f"mx[::1]: subject_CN={subject}, issuer={issuer}, fingerprint={PRINT}, pkey_fingerprint={KEY}")
    assert isinstance(found, Shown)
    assert (found.fingerprint, found.pubkey_fingerprint) == ("ab" * 32, "0c" * 32)
    assert found.subject in (subject, None)
    assert found.issuer in (issuer, None)
