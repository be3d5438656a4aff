"""One connection of an MTA, without sockets: what each command means, and what is to be answered and changed.

A session has many messages, one after the other, and nothing of one is left for the next. The sender is judged at MAIL
and answered at RCPT, where Postfix answers for the policy service, so that the MTA's log names the recipient. The
header is judged at the end of the message.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from closedmail.inbound.decision import Envelope, Rulebook, Verdict, decide_any
from closedmail.inbound.header_decision import decide_header
from closedmail.inbound.header_sender import MAX_BYTES, MAX_FIELDS, HeaderError
from closedmail.inbound.sender import SenderError
from closedmail.milter.authentication_results import FIELD, bears_our_mark, mark
from closedmail.milter.milter_macros import Told

_AUTHORS = frozenset(("from", "sender"))
_RESULTS = FIELD.lower()
# Of a message's `Authentication-Results` so many bytes are looked at; all behind them are taken for forged.
_MOST_RESULTS = 256 * 1024


class Reply(NamedTuple):
    """A refusal: `code` and `status` as in RFC 5321 and RFC 3463."""

    code: Literal["550", "451"]
    status: str
    text: str


class Judged(NamedTuple):
    """A verdict to be logged and counted."""

    verdict: Verdict
    envelope: Envelope
    generation: int
    header: bool = False


class Ending(NamedTuple):
    """What is to be done at the end of a message: a refusal, else fields to remove and one to add.

    `remove` are numbers of `Authentication-Results` fields, counted from 1, the last first. `judged` is to be logged
    and counted, `problem` to be logged: what was wrong with the message, "" for nothing.
    """

    reply: Reply | None = None
    remove: tuple[int, ...] = ()
    mark: str | None = None
    judged: tuple[Judged, ...] = ()
    problem: str = ""


UNREADABLE = Reply("451", "4.7.1", "The policy for this mail can't be read at the moment; try again later")
_NO_SENDER = Reply("451", "4.7.1", "The domain of this sender can't be read")
_NO_HEADER = Reply("550", "5.7.1", "The From: and Sender: headers of this mail can't be judged")


@dataclass(slots=True)
class _Message:
    envelope: Envelope
    judged: Judged | None
    reply: Reply | None
    problem: str = ""
    authors: list[bytes] = field(default_factory=list)
    authors_size: int = 0
    results: int = 0
    results_size: int = 0
    forged: list[int] = field(default_factory=list)

    @property
    def told(self) -> tuple[Judged, ...]:
        """What is to be logged of the sender: only what is our business."""
        return (self.judged,) if self.judged and self.judged.verdict.match else ()

    def note(self, name: str, value: bytes, authserv_id: str) -> None:
        """Keep of a header what the end of the message needs; in bounded memory."""
        if name in _AUTHORS:
            self.authors_size += len(value)
            if self.authors_size <= MAX_BYTES and len(self.authors) <= MAX_FIELDS:
                self.authors.append(value)
        elif name == _RESULTS:
            self.results += 1
            self.results_size += len(value)
            if self.results_size > _MOST_RESULTS or bears_our_mark(value, authserv_id):
                self.forged.append(self.results)

    def values(self) -> Iterator[bytes]:
        """All of `From:` and `Sender:`. Raises HeaderError where not all were kept."""
        if self.authors_size > MAX_BYTES:
            raise HeaderError(f"more than {MAX_BYTES} bytes of From: and Sender: headers")
        yield from self.authors


class Session:
    """Commands in, answers out, in the order in which they come. `authserv_id` may be changed at any time."""

    __slots__ = ("_address", "_message", "authserv_id")

    def __init__(self, authserv_id: str) -> None:
        """A connection that says nothing yet."""
        self.authserv_id = authserv_id
        self._address = ""
        self._message: _Message | None = None

    def connect(self, address: str) -> None:
        """The client's address, "" where there is none."""
        self._address = address

    def mail(self, argument: bytes, told: Told, book: Rulebook | None) -> None:
        """A message begins. `argument` is the sender as the client wrote it, `book` None where none can be read."""
        envelopes = _envelopes(argument, told, self._address)
        if book is None:
            self._message = _Message(envelopes[0], None, UNREADABLE)
            return
        try:
            verdict = decide_any(envelopes, book)
        except SenderError as error:
            self._message = _Message(envelopes[0], None, _NO_SENDER, str(error))
            return
        self._message = _Message(envelopes[0], Judged(verdict, envelopes[0], book.generation), _reply(verdict))

    def recipient(self) -> Ending:
        """A recipient. Whatever is wrong with the sender is answered to each of them."""
        message = self._message
        if message is None:
            return Ending(UNREADABLE)
        return self._refused(message) if message.reply else Ending()

    def header(self, name: str, value: bytes) -> None:
        """A header field."""
        if self._message is not None:
            self._message.note(name.strip(" \t").lower(), value, self.authserv_id)

    def end(self, book: Rulebook | None) -> Ending:
        """The end of the message."""
        message, self._message = self._message, None
        if message is None or book is None:
            return Ending(UNREADABLE)
        if message.reply:
            return self._refused(message)
        told = message.told
        forged = tuple(reversed(message.forged))
        if book.header_from == "off":
            return Ending(None, forged, self._mark(message), told)
        try:
            header = decide_header(message.values(), message.envelope, book)
        except HeaderError as error:
            return Ending(_NO_HEADER if book.header_from == "enforce" else None, forged, None, told, str(error))
        reply = _reply(header)
        if header.match:
            judged = Judged(header, message.envelope, book.generation, header=True)
            # A mail that is refused for its header was not accepted for its sender.
            told = (judged,) if reply else (*told, judged)
        # Nothing that a rule objects to, or might if it were told more, is vouched for.
        honest = header.match is None or header.outcome == "accept"
        return Ending(reply, forged, self._mark(message) if honest else None, told)

    def _refused(self, message: _Message) -> Ending:
        return Ending(message.reply, judged=message.told, problem=message.problem)

    def abort(self) -> None:
        """The message is given up, the connection goes on."""
        self._message = None

    def _mark(self, message: _Message) -> str | None:
        """The mark of a message whose sender was proven."""
        verdict = message.judged.verdict if message.judged else None
        if verdict is None or verdict.match is None or verdict.reason != "ok":
            return None
        network = verdict.match.rule.network or verdict.match.key.removeprefix(".")
        return mark(self.authserv_id, network, verdict.domain)


def _reply(verdict: Verdict) -> Reply | None:
    match verdict.outcome:
        case "reject":
            return Reply("550", "5.7.1", verdict.action.removeprefix("REJECT 5.7.1 "))
        case "defer":
            return Reply("451", "4.7.1", verdict.action.removeprefix("DEFER 4.7.1 "))
        case _:
            return None


def _envelopes(argument: bytes, told: Told, address: str) -> tuple[Envelope, ...]:
    """What is to be decided about: each reading of the sender, the MTA's own among them; one of them if it is null."""
    given = argument.decode("utf-8", "surrogateescape")
    null = not given.strip("<> \t")
    readings = [""] if null else [given, *told.senders]
    return tuple(
        Envelope(sender, told.client_address or address, told.sasl_username, told.certificate, told.encrypted)
        for sender in dict.fromkeys(internal_form(reading) for reading in readings)
    )


_QUOTED = re.compile(r'"((?:\\.|[^"\\])*+)"', re.DOTALL)
_LAST_AT = re.compile(r'(?:"(?:\\.|[^"\\])*+"|[^"])*(@)', re.DOTALL)


def internal_form(external: str) -> str:
    """An address as the policy protocol has it: without angle brackets, and its local part without quotes."""
    address = external.strip(" \t")
    if address.startswith("<"):
        address = address[1:].removesuffix(">")
    if '"' not in address and "\\" not in address:
        return address
    at = _LAST_AT.match(address)
    cut = at.start(1) if at else len(address)
    local = _QUOTED.sub(lambda found: re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL), address[:cut])
    return local + address[cut:]
