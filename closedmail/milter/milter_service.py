"""Run the milter without libmilter: answer sessions from the generation in force, log and count verdicts.

libmilter runs each connection in a thread of its own; the policy store is read by one at a time.
"""

import os
import threading
from collections.abc import Callable, Mapping
from itertools import count
from typing import TypeVar

from closedmail.core.model import Rewriting
from closedmail.daemon.digest_watch import DigestWatch
from closedmail.daemon.verdict_log import Counting, VerdictLog
from closedmail.errors import StoreError
from closedmail.inbound.partner import Rulebook
from closedmail.milter.milter_macros import read_macros
from closedmail.milter.milter_session import MilterSession, Response
from closedmail.store.snapshot import StoreReader

_Answer = TypeVar("_Answer")


class MilterService:
    """The state that connections share. `authserv_id` may be changed at any time; `busy` have a message under way."""

    def __init__(
        self, store: StoreReader, write: Callable[[str], object], counters: Counting, authserv_id: str
    ) -> None:
        """Start with no connection. `write` takes log lines, newline included; verdicts are counted in `counters`."""
        self.authserv_id = authserv_id
        self.busy: set[MilterConnection] = set()
        self._store, self._write = store, write
        self._verdicts = VerdictLog(write, counters)
        self._digests = DigestWatch(write)
        self._one = threading.Lock()
        self._trouble = ""
        self._numbers = count(1)
        # How headers are read in the generation asked last, None where they are not.
        self.header_rewriting: Rewriting | None = None

    def connection(self) -> "MilterConnection":
        """Make a connection that is about to begin."""
        return MilterConnection(self, f"{os.getpid():x}.{next(self._numbers):x}")

    def ask(self, question: Callable[[Rulebook | None], _Answer]) -> _Answer:
        """Put a question to the generation in force, or to None while none can be read; return its answer."""
        with self._one:
            try:
                book = self._store.current()
                self.header_rewriting = book.rewriting if book.header_from != "off" else None
                answer = question(book)
            except StoreError as error:
                if str(error) != self._trouble:  # once for each kind of trouble, not once for each mail
                    self._trouble = str(error)
                    self._write(f"error: {error}: all mail is deferred\n")
            else:
                if self._trouble:
                    self._write(f"policy store is back, generation={book.generation}\n")
                    self._trouble = ""
                return answer
        return question(None)

    def log(self, response: Response, instance: str) -> None:
        """Log and count the verdicts of a response."""
        with self._one:
            for verdict, envelope, generation, header in response.judged:
                more = " door=milter part=header" if header else " door=milter"
                self._verdicts.note(verdict, instance, envelope.client_address, generation, more)
                if verdict.match and verdict.facts.cert is False and envelope.certificate.fingerprint:
                    self._digests.note(verdict.match.rule, envelope.certificate)
            if response.problem:
                client = response.judged[0].envelope.client_address if response.judged else "-"
                self._write(f"error: {response.problem}: client={client} instance={instance} door=milter\n")


class MilterConnection:
    """One connection of an MTA: its commands in, responses out."""

    __slots__ = ("_instance", "_messages", "_name", "_service", "_session")

    def __init__(self, service: MilterService, name: str) -> None:
        """Make a connection. `name` makes instances of messages whose queue id is not known yet."""
        self._service, self._name = service, name
        self._session = MilterSession(service.authserv_id)
        self._messages = 0
        self._instance = name

    def connect(self, address: str) -> None:
        """Take the client's address, "" where there is none."""
        self._session.connect(address)

    def mail(self, argument: bytes, macros: Mapping[str, str]) -> None:
        """Begin a message; `macros` are those of the MTA."""
        self._messages += 1
        self._instance = f"{self._name}.{self._messages:x}"
        self._service.busy.add(self)
        session, read = self._session, read_macros(macros)
        session.authserv_id = self._service.authserv_id
        self._service.ask(lambda book: session.mail(argument, read, book))

    def recipient(self, queue_id: str) -> Response:
        """Answer a recipient. `queue_id` is "" where the MTA has none yet."""
        response = self._session.recipient()
        if response.reply:
            self._service.log(response, queue_id or self._instance)
        return response

    def header(self, name: str, value: bytes) -> None:
        """Take a header field."""
        self._session.header(name, value)

    def end(self, queue_id: str) -> Response:
        """End a message, and respond. A header is read before it is our turn: others need not wait for that."""
        if rewriting := self._service.header_rewriting:
            self._session.read_header(rewriting)
        response = self._service.ask(self._session.end)
        self._service.log(response, queue_id or self._instance)
        return response

    def done(self) -> None:
        """Note that the message is answered, or given up."""
        self._session.abort()
        self._service.busy.discard(self)
