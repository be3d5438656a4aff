"""Answer policy requests without sockets: a request in, the reply's bytes out, verdicts logged and counted."""

from collections.abc import Callable
from typing import Literal

from closedmail.daemon.digest_watch import DigestWatch
from closedmail.daemon.verdict_log import VerdictLog
from closedmail.errors import StoreError
from closedmail.inbound.counters import Counters
from closedmail.inbound.decision import decide
from closedmail.inbound.sender import SenderError
from closedmail.policyd.policy_protocol import ProtocolError, Request, envelope_of
from closedmail.policyd.policy_reply import DUNNO_REPLY, reply_to
from closedmail.store.snapshot import StoreReader

_NO_ANSWER = "smtpd_policy_service_default_action decides about the mail"
_LONGEST_INSTANCE = 255  # Postfix's have about 20 bytes; the log remembers thousands of them


class PolicyService:
    """A service that answers from the generation in force; `on_failure` is the reaction while none can be read.

    `requests` counts all of them, `store_errors` those for which there was no generation.
    """

    def __init__(
        self,
        store: StoreReader,
        write: Callable[[str], object],
        on_failure: Literal["disconnect", "dunno"],
        counters: Counters,
    ) -> None:
        """Count nothing yet. `write` takes log lines, newline included; verdicts are counted in `counters`."""
        self.on_failure = on_failure
        self.counters = counters
        self.verdicts = VerdictLog(write, counters)
        self.digests = DigestWatch(write)
        self.requests = self.store_errors = 0
        self._store, self._write = store, write
        self._trouble = ""

    def respond(self, request: Request) -> bytes:
        """Answer a request.

        Raises ProtocolError and StoreUnreadableError when the connection is to be closed without a reply.
        """
        self.requests += 1
        try:
            book = self._store.current()
            envelope = envelope_of(request)
            verdict = decide(envelope, book)
        except SenderError as error:
            raise ProtocolError(str(error), _NO_ANSWER) from None
        except StoreError as error:
            return self._without_store(error)
        if self._trouble:
            self._write(f"policy store is back, generation={book.generation}\n")
            self._trouble = ""
        if verdict.match is None:
            return DUNNO_REPLY  # not our business, as most mail
        instance = request.instance[:_LONGEST_INSTANCE].decode("ascii", "replace")
        self.verdicts.note(verdict, instance, envelope.client_address, book.generation)
        if verdict.facts.cert is False and envelope.certificate.fingerprint:
            self.digests.note(verdict.match.rule, envelope.certificate)
        return reply_to(verdict)

    def _without_store(self, error: StoreError) -> bytes:
        self.store_errors += 1
        consequence = "mail passes unchecked" if self.on_failure == "dunno" else "closing the connection unanswered"
        if str(error) != self._trouble:  # once for each kind of trouble, not once for each mail
            self._trouble = str(error)
            self._write(f"error: {error}: {consequence} (policyd.on_failure)\n")
        if self.on_failure == "dunno":
            return DUNNO_REPLY
        raise StoreUnreadableError(str(error))


class StoreUnreadableError(Exception):
    """Our fault: no generation can be read, and the connection is to be closed. Logged already, with what to do."""
