"""The milter without libmilter: sessions asked and answered from the generation in force, verdicts logged and counted.

libmilter runs each connection in a thread of its own; the policy store is read by one at a time.
"""

import os
import threading
from collections.abc import Callable, Mapping
from itertools import count
from typing import TypeVar

from closedmail.daemon.digest_watch import DigestWatch
from closedmail.daemon.verdict_log import Counting, VerdictLog
from closedmail.errors import StoreError
from closedmail.inbound.decision import Rulebook
from closedmail.milter.milter_macros import told_by
from closedmail.milter.milter_session import Ending, Session
from closedmail.store.snapshot import StoreReader

_Answer = TypeVar("_Answer")


class MilterDesk:
    """What all connections share. `authserv_id` may be changed at any time; `busy` have a message under way."""

    def __init__(
        self, store: StoreReader, write: Callable[[str], object], counters: Counting, authserv_id: str
    ) -> None:
        """`write` takes log lines, newline included; verdicts are counted in `counters`."""
        self.authserv_id = authserv_id
        self.busy: set[MilterConnection] = set()
        self._store, self._write = store, write
        self._verdicts = VerdictLog(write, counters)
        self._digests = DigestWatch(write)
        self._one = threading.Lock()
        self._trouble = ""
        self._numbers = count(1)

    def connection(self) -> "MilterConnection":
        """A connection that is about to begin."""
        return MilterConnection(self, f"{os.getpid():x}.{next(self._numbers):x}")

    def ask(self, question: Callable[[Rulebook | None], _Answer]) -> _Answer:
        """The answer to a question about the generation in force, or about None while none can be read."""
        with self._one:
            try:
                book = self._store.current()
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

    def tell(self, ending: Ending, instance: str) -> None:
        """Log and count what was decided."""
        with self._one:
            for verdict, envelope, generation, header in ending.judged:
                more = " door=milter part=header" if header else " door=milter"
                self._verdicts.note(verdict, instance, envelope.client_address, generation, more)
                if verdict.match and verdict.facts.cert is False and envelope.certificate.fingerprint:
                    self._digests.note(verdict.match.rule, envelope.certificate)
            if ending.problem:
                client = ending.judged[0].envelope.client_address if ending.judged else "-"
                self._write(f"error: {ending.problem}: client={client} instance={instance} door=milter\n")


class MilterConnection:
    """One connection of an MTA: its commands in, what is to be done out."""

    __slots__ = ("_desk", "_instance", "_messages", "_name", "_session")

    def __init__(self, desk: MilterDesk, name: str) -> None:
        """`name` makes instances of messages whose queue id is not known yet."""
        self._desk, self._name = desk, name
        self._session = Session(desk.authserv_id)
        self._messages = 0
        self._instance = name

    def connect(self, address: str) -> None:
        """The client's address, "" where there is none."""
        self._session.connect(address)

    def mail(self, argument: bytes, macros: Mapping[str, str]) -> None:
        """A message begins; `macros` are those of the MTA."""
        self._messages += 1
        self._instance = f"{self._name}.{self._messages:x}"
        self._desk.busy.add(self)
        session, told = self._session, told_by(macros)
        session.authserv_id = self._desk.authserv_id
        self._desk.ask(lambda book: session.mail(argument, told, book))

    def recipient(self, queue_id: str) -> Ending:
        """A recipient. `queue_id` is "" where the MTA has none yet."""
        ending = self._session.recipient()
        if ending.reply:
            self._desk.tell(ending, queue_id or self._instance)
        return ending

    def header(self, name: str, value: bytes) -> None:
        """A header field."""
        self._session.header(name, value)

    def end(self, queue_id: str) -> Ending:
        """The end of a message."""
        ending = self._desk.ask(self._session.end)
        self._desk.tell(ending, queue_id or self._instance)
        return ending

    def done(self) -> None:
        """The message is answered, or given up."""
        self._session.abort()
        self._desk.busy.discard(self)
