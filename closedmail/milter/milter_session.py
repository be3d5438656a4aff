"""Handle one connection of an MTA, without sockets: commands go in, replies and changes come out.

A session has many messages, one after the other, and nothing of one is left for the next. The sender is judged at MAIL
and answered at RCPT, where Postfix answers for the policy service, so that the MTA's log names the recipient. The
header is judged at the end of the message.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from closedmail.core.model import Rewriting
from closedmail.inbound.decision import Verdict, decide_any
from closedmail.inbound.facts import Envelope
from closedmail.inbound.header_decision import decide_names
from closedmail.inbound.header_sender import MAX_BYTES, MAX_FIELDS, HeaderError, header_domains
from closedmail.inbound.partner import Rulebook
from closedmail.inbound.sender import SenderError
from closedmail.milter.authentication_results import FIELD, bears_our_mark, mark
from closedmail.milter.milter_macros import MailMacros
from closedmail.milter.milter_reply import NO_HEADER, NO_SENDER, UNREADABLE, MilterReply, reply_to

_AUTHORS = frozenset(("from", "sender"))
_RESULTS = FIELD.lower()
# Of a message's `Authentication-Results` so many bytes are looked at; all behind them are taken for forged.
_MOST_RESULTS = 256 * 1024


class Judged(NamedTuple):
    """A verdict to be logged and counted."""

    verdict: Verdict
    envelope: Envelope
    generation: int
    header: bool = False


class Response(NamedTuple):
    """The milter's response to a recipient or a message: a refusal, else fields to remove and one to add.

    `remove` are numbers of `Authentication-Results` fields, counted from 1, the last first. `judged` goes to log and
    counters, `problem` to the log: the fault of the message, "" for none.
    """

    reply: MilterReply | None = None
    remove: tuple[int, ...] = ()
    mark: str | None = None
    judged: tuple[Judged, ...] = ()
    problem: str = ""


@dataclass(slots=True)
class _Message:
    envelope: Envelope
    judged: Judged | None
    reply: MilterReply | None
    problem: str = ""
    authors: list[bytes] = field(default_factory=list)
    authors_size: int = 0
    read: "tuple[Rewriting, tuple[str, ...] | HeaderError] | None" = None
    results: int = 0
    results_size: int = 0
    forged: list[int] = field(default_factory=list)

    @property
    def about_sender(self) -> tuple[Judged, ...]:
        """The sender's verdict for the log, where it is our business."""
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

    def domains(self, rewriting: Rewriting) -> tuple[str, ...]:
        """Find the domains in `From:` and `Sender:`, once for the same settings. Raises HeaderError."""
        if self.read is None or self.read[0] != rewriting:
            if self.authors_size > MAX_BYTES:
                self.read = rewriting, HeaderError(f"more than {MAX_BYTES} bytes of From: and Sender: headers")
            else:
                try:
                    self.read = rewriting, header_domains(self.authors, rewriting)
                except HeaderError as error:
                    self.read = rewriting, error
        found = self.read[1]
        if isinstance(found, HeaderError):
            raise found
        return found


class MilterSession:
    """Commands in, answers out, in the order in which they come. `authserv_id` may be changed at any time."""

    __slots__ = ("_address", "_message", "authserv_id")

    def __init__(self, authserv_id: str) -> None:
        """Begin with a connection that has sent nothing yet."""
        self.authserv_id = authserv_id
        self._address = ""
        self._message: _Message | None = None

    def connect(self, address: str) -> None:
        """Take the client's address, "" where there is none."""
        self._address = address

    def mail(self, argument: bytes, macros: MailMacros, book: Rulebook | None) -> None:
        """Begin a message. `argument` is the sender as the client wrote it, `book` None where none can be read."""
        envelopes = _envelopes(argument, macros, self._address)
        if book is None:
            self._message = _Message(envelopes[0], None, UNREADABLE)
            return
        try:
            verdict = decide_any(envelopes, book)
        except SenderError as error:
            self._message = _Message(envelopes[0], None, NO_SENDER, str(error))
            return
        self._message = _Message(envelopes[0], Judged(verdict, envelopes[0], book.generation), reply_to(verdict))

    def recipient(self) -> Response:
        """Answer a recipient. Each gets the refusal that the sender caused."""
        message = self._message
        if message is None:
            return Response(UNREADABLE)
        return self._refused(message) if message.reply else Response()

    def header(self, name: str, value: bytes) -> None:
        """Take a header field."""
        if self._message is not None:
            self._message.note(name.strip(" \t").lower(), value, self.authserv_id)

    def read_header(self, rewriting: Rewriting) -> None:
        """Read the header for a decision by these settings, which `end` then need not do: that takes a while."""
        if self._message is not None and not self._message.reply:
            with suppress(HeaderError):
                self._message.domains(rewriting)

    def end(self, book: Rulebook | None) -> Response:
        """End the message: judge its header, and respond."""
        message, self._message = self._message, None
        if message is None or book is None:
            return Response(UNREADABLE)
        if message.reply:
            return self._refused(message)
        judged = message.about_sender
        forged = tuple(reversed(message.forged))
        if book.header_from == "off":
            return Response(None, forged, self._mark(message), judged)
        try:
            header = decide_names(lambda: message.domains(book.rewriting), message.envelope, book)
        except HeaderError as error:
            return Response(NO_HEADER if book.header_from == "enforce" else None, forged, None, judged, str(error))
        reply = reply_to(header)
        if header.match:
            about_header = Judged(header, message.envelope, book.generation, header=True)
            # A mail that is refused for its header was not accepted for its sender.
            judged = (about_header,) if reply else (*judged, about_header)
        # A mail that a rule objects to, or might if more were known, gets no mark.
        honest = header.match is None or header.outcome == "accept"
        return Response(reply, forged, self._mark(message) if honest else None, judged)

    def _refused(self, message: _Message) -> Response:
        return Response(message.reply, judged=message.about_sender, problem=message.problem)

    def abort(self) -> None:
        """Drop the message; the connection goes on."""
        self._message = None

    def _mark(self, message: _Message) -> str | None:
        """Return the mark of a message whose sender was proven, None for others."""
        verdict = message.judged.verdict if message.judged else None
        if verdict is None or verdict.match is None or verdict.reason != "ok":
            return None
        network = verdict.match.rule.network or verdict.match.key.removeprefix(".")
        return mark(self.authserv_id, network, verdict.domain)


def _envelopes(argument: bytes, macros: MailMacros, address: str) -> tuple[Envelope, ...]:
    """Make an envelope of each reading of the sender, the MTA's own among them; of one alone if it is null."""
    given = argument.decode("utf-8", "surrogateescape")
    null = not given.strip("<> \t")
    readings = [""] if null else [given, *macros.senders]
    return tuple(
        Envelope(sender, macros.client_address or address, macros.sasl_username, macros.certificate, macros.encrypted)
        for sender in dict.fromkeys(internal_form(reading) for reading in readings)
    )


_QUOTED = re.compile(r'"((?:\\.|[^"\\])*+)"', re.DOTALL)
_LAST_AT = re.compile(r'(?:"(?:\\.|[^"\\])*+"|[^"])*(@)', re.DOTALL)


def internal_form(external: str) -> str:
    """Bring an address into the policy protocol's form: no angle brackets, no quotes around the local part."""
    address = external.strip(" \t")
    if address.startswith("<"):
        address = address[1:].removesuffix(">")
    if '"' not in address and "\\" not in address:
        return address
    at = _LAST_AT.match(address)
    cut = at.start(1) if at else len(address)
    local = _QUOTED.sub(lambda found: re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL), address[:cut])
    return local + address[cut:]
