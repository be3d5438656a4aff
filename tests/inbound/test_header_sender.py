"""The header sender: a corpus of hostile headers, what other readers see, and what a hostile text may cost."""

import codecs
import re
from collections.abc import Iterator
from email import policy
from email.parser import BytesParser
from email.utils import getaddresses
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.core_samples import Book
from support.header_corpus import CORPUS, NOT_FOR_MTAS, Hostile

from closedmail.core.model import Inbound, Rewriting
from closedmail.core.rule import Rule
from closedmail.inbound import header_sender
from closedmail.inbound.facts import Envelope
from closedmail.inbound.header_decision import decide_header
from closedmail.inbound.header_sender import _BUDGET as BUDGET
from closedmail.inbound.header_sender import MAX_BYTES, MAX_FIELDS, HeaderError, header_domains
from closedmail.inbound.partner import Match
from closedmail.inbound.reading_budget import ReadingBudget
from closedmail.inbound.sender import SenderError, queued_domains

SETTINGS = Rewriting(myorigin="city.example")
RULE = Rule("ndb", "Netz", Inbound("enforce", header_from="enforce"), None)
PARTNERS = Book({key: Match(key, RULE) for key in ("koeln.example", "xn--kln-sna.example")})


def domains(*values: bytes) -> tuple[str, ...]:
    return header_domains(values, SETTINGS)


def test_the_corpus_has_no_name_twice() -> None:
    names = [hostile.name for hostile in (*CORPUS, *NOT_FOR_MTAS)]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("hostile", [*CORPUS, *NOT_FOR_MTAS], ids=lambda hostile: hostile.name)
def test_corpus(hostile: Hostile) -> None:
    values = [value for name, value in hostile.fields if name.strip().lower() in ("from", "sender")]
    try:
        outcome = decide_header(values, Envelope("", "198.18.0.9"), PARTNERS).outcome
    except HeaderError:  # of which the milter makes a refusal
        outcome = "reject"
    assert outcome == ("reject" if hostile.refused else "none")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("u@p.example", ["p.example"]),
        ('"u@q.example" <u@p.example>', ["p.example"]),
        ("U <u@p.example>, v@q.example (w@r.example)", ["p.example", "q.example"]),
        ("=?utf-8?q?J=C3=BCrgen?= <u@p.example>", ["p.example"]),
        ("Jürgen <u@p.example>", ["p.example"]),
        ("", []),
        ("joe", ["city.example"]),  # completed as a sender is
    ],
)
def test_a_tidy_header_has_no_other_domains(value: str, expected: list[str]) -> None:
    assert list(domains(value.encode())) == expected


# What anybody may read

PIECES = st.sampled_from(
    [
        *("u", "@", "@p.example", "q.example", "p", ".", "example", "<", ">", ",", ";", ":", '"', "\\", "(", ")", " "),
        *("\t", "\r\n ", "=?utf-8?q?", "?=", "=40", "=?utf-8?b?dUBw?=", "%", "!", "[", "]", "ö", "\x00", "\x1b", "via"),
        *("<u@p.example>", '"a b"', "(c)", "u@p.example", "x <v@q.example>"),
    ]
)
HEADERS = st.lists(PIECES, max_size=12).map("".join)


def owners(addresses: list[str]) -> set[str]:
    """The domains of addresses that are names somebody can have."""
    found: set[str] = set()
    for address in addresses:
        domain = address.rpartition("@")[2] if "@" in address else ""
        if domain and all(label.isalnum() for label in domain.split(".")):
            try:
                found.update(queued_domains(f"x@{domain}", SETTINGS))
            except SenderError:
                continue
    return found


@given(HEADERS)
@example('"u@p.example" <v@q.example>')
def test_what_email_utils_reads_counts(text: str) -> None:
    read = owners([address for _, address in getaddresses([text.replace("\r\n", "")])])
    assert read <= set(domains(text.encode()))


@given(HEADERS)
@example("=?utf-8?q?x?= <u@p.example>")
def test_what_the_header_registry_reads_counts(text: str) -> None:
    """Python's newer parser, which fails on some texts."""
    raw = text.encode().replace(b"\x00", b"")
    try:
        header = BytesParser(policy=policy.SMTPUTF8).parsebytes(b"From: " + raw + b"\r\n\r\n")["from"]
        read = owners([f"x@{address.domain}" for address in header.addresses])
    except Exception:
        return
    assert read <= set(domains(raw))


@given(st.binary(max_size=200))
def test_no_bytes_fail(value: bytes) -> None:
    for name in domains(value):
        assert name == name.lower()


@given(HEADERS, HEADERS)
def test_values_are_read_each_by_itself(one: str, other: str) -> None:
    assert set(domains(one.encode(), other.encode())) == {*domains(one.encode()), *domains(other.encode())}


# What it may cost

SIZE = 30_000


PIECES_OF_A_BOMB = """
@ u@p, ( ) () " "\\ \\ < <> [ u@ % ! x: ; , (a) a. ö \uff20 =?a?q? =?utf-8?q?=40?= =?utf-8?b?YUBi?= "a"
=?utf-8?q?=3D=3Fa=3Fq=3F?= =?utf-7?b?+AEA-?= ==?utf-8?q? ?= ? =?punycode?q?-
"""


class Work:
    """What is done for a text: how much is read how often, what it finds, and what `email.utils` is given of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.readings: list[int] = []  # characters
        self.runs = 0  # characters behind an @, in all readings
        self.mailboxes = 0  # characters, in all texts
        self.asked: list[int] = []  # characters of the addresses whose domains are asked for
        self.email: list[int] = []  # characters that email.utils takes apart, in quadratic time
        self._readings, self._run, self._mailbox = header_sender._readings, header_sender._RUN, header_sender._MAILBOX
        for name, mine in (
            ("_readings", self._note_readings),
            ("_RUN", SimpleNamespace(match=self._match_run)),
            ("_MAILBOX", SimpleNamespace(match=self._match_mailbox)),
            ("queued_domains", self._queued_domains),
            ("getaddresses", self._getaddresses),
        ):
            monkeypatch.setattr(header_sender, name, mine)

    def _note_readings(self, text: str, budget: ReadingBudget) -> Iterator[str]:
        for reading in self._readings(text, budget):
            self.readings.append(len(reading))
            yield reading

    def _match_run(self, text: str, at: int) -> re.Match[str] | None:
        found = self._run.match(text, at)
        self.runs += len(found[0]) if found else 0
        return found

    def _match_mailbox(self, text: str, at: int) -> re.Match[str] | None:
        found = self._mailbox.match(text, at)
        self.mailboxes += len(found[0]) if found else 0
        return found

    def _queued_domains(self, address: str, rewriting: Rewriting, budget: ReadingBudget) -> tuple[str, ...]:
        self.asked.append(len(address))
        return queued_domains(address, rewriting, budget)

    def _getaddresses(self, texts: list[str]) -> list[tuple[str, str]]:
        self.email += map(len, texts)
        return getaddresses(texts)


@pytest.mark.parametrize("piece", [*PIECES_OF_A_BOMB.split(), "a ", '"a" ', "\r\n ", "\x00", "\u0301\u0316", "ﷺẞ"])
@pytest.mark.parametrize("size", [2_000, SIZE])
def test_work_is_bounded(piece: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile text is read so and so often as a whole, and nothing of it is read again for what else it holds."""
    bomb = (piece * (size // len(piece.encode()))).encode()
    for text in (b"u@p.example, " + bomb, bomb + b", <u@p.example>", b"\xff" + bomb + b", <u@p.example>"):
        texts = 6 if text.startswith(b"\xff") else 2  # in three character sets, and with encoded words decoded
        with monkeypatch.context() as patch:
            work = Work(patch)
            try:
                assert "p.example" in domains(text)
                assert work.asked
            except HeaderError:
                assert size == SIZE or texts == 6
        assert len(work.readings) <= 45 * texts
        assert sum(work.readings) <= 100 * BUDGET
        assert work.runs <= sum(work.readings)
        assert work.mailboxes <= 4 * BUDGET
        assert len(work.asked) <= 256
        assert sum(work.email) <= BUDGET // 2
        assert max(work.email, default=0) <= 4096


def test_a_name_that_is_too_long() -> None:
    """Unless what makes it long is not seen: then it is the name without that."""
    assert domains(b"u@k\xc3\xb6" + b"\xc2\xad" * 300 + b"ln.example") == ("xn--kln-sna.example",)
    # An owner of `.p.example` answers for what can't be a name, too.
    assert domains(b"u@" + "ü".encode() * 300 + b".p.example")[0] == "xn--.p.example"
    assert domains(b"u@" + "ü.".encode() * 300 + b"p.example")[0].endswith(".xn--tda.p.example")


def test_strangers_charsets_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """codecs.lookup() keeps each name that it is asked for."""
    asked: list[str] = []
    codecs.register(asked.append)  # called for each name that Python does not know
    try:
        domains(b"".join(b"=?charset-%d?q?=40p.example?= " % number for number in range(100)))
        domains(b"=?no_such?q?=40p?=")
    finally:
        codecs.unregister(asked.append)
    assert not asked


@pytest.mark.parametrize(
    ("charset", "raw"),
    [("utf-8", "=C3=B6"), ("ISO-8859-1", "=F6"), ("windows-1252", "=F6"), ("utf-7", "+APY-"), ("IBM437", "=94")],
)
def test_charsets(charset: str, raw: str) -> None:
    assert "xn--kln-sna.example" in domains(f"=?{charset}?q?u=40k{raw}ln.example?=".encode())


def test_more_than_can_be_judged() -> None:
    with pytest.raises(HeaderError, match="domains"):
        domains(b",".join(b"u@%d.example" % number for number in range(300)))
    with pytest.raises(HeaderError, match="bytes"):
        domains(b"a" * (MAX_BYTES + 1))
    with pytest.raises(HeaderError, match="headers"):
        domains(*[b"u@p.example"] * (MAX_FIELDS + 1))
    with pytest.raises(HeaderError, match="too many ways"):
        domains(b"@(" * 10_000)
    assert domains(*[b"u@p.example"] * MAX_FIELDS) == ("p.example",)
    assert domains(*["U <u@köln.example>".encode()] * MAX_FIELDS) == ("xn--kln-sna.example",)
