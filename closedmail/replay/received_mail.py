"""Collect received mail from the lines of a log: join client, sender and TLS by session and queue id.

A session is one process of smtpd from `connect` to `disconnect`; sessions of several processes, services and hosts may
be mixed in one log. A mail is complete when qmgr has logged its sender and its session has logged TLS: by the line of
smtpd_tls_loglevel = 1, or at its end, where Postfix (3.0 and later) counts STARTTLS. A fact that is not in the log
stays unknown; nothing is guessed.

Memory is bounded, whatever a log holds: the number of sessions and mails is limited, and the oldest are dropped first.
"""

from collections.abc import Callable
from typing import NamedTuple

from closedmail.inbound.facts import ClientCertificate
from closedmail.replay import smtpd_events as events
from closedmail.replay.mail_log import Line
from closedmail.replay.smtpd_log import event_of

# A busy gateway has some hundreds of sessions at a time, and mails without a sender for as long as their data takes to
# come. A mail refused after its first recipient never gets one, and is dropped when it is the oldest.
SESSIONS, MAILS, WAITING = 20_000, 50_000, 50_000


class Link(NamedTuple):
    """The facts about a connection. `shown` is the certificate as logged, None where there was none."""

    encrypted: bool | None
    certificate: ClientCertificate
    shown: events.Shown | None = None


_UNLOGGED = ClientCertificate(None, None, None, None)
UNKNOWN = Link(None, _UNLOGGED)
PLAIN = Link(False, ClientCertificate())
_TLS = Link(True, _UNLOGGED)  # by the count at the session's end: nothing of a certificate
# Names of services that speak TLS from the first byte (Debian's master.cf): they count no STARTTLS.
_WRAPPED = (b"smtps", b"submissions")


class Mail(NamedTuple):
    """A mail that was received: its sender as queued, and the facts about its client that are in the log."""

    queue_id: str
    time: str
    sender: str
    address: str
    sasl_username: str
    link: Link


class _SmtpdSession:
    __slots__ = ("link", "outcome", "proxied", "refused", "shown", "tag", "waiting")

    def __init__(self, tag: bytes) -> None:
        self.tag = tag
        self.shown: events.Shown | None = None
        self.link: Link | None = None
        self.outcome: Link | None = None  # the TLS of its mails without a TLS line, once known
        self.proxied: _Pending | None = None
        self.refused: events.Rejected | None = None
        self.waiting: list[Mail] = []


class _Pending(NamedTuple):
    """A mail on its way; `link` is None until TLS of its session is known."""

    session: _SmtpdSession
    client: events.Client
    time: str
    link: Link | None


class Replay:
    """A reader that takes lines in order, and reports each mail and each refusal once. Call `finish` at the end."""

    def __init__(self, received: Callable[[Mail], None], refused: Callable[[events.Rejected], None]) -> None:
        """Prepare for the first line."""
        self._received, self._refused = received, refused
        self._sessions: dict[tuple[bytes, bytes, bytes], _SmtpdSession] = {}
        self._mails: dict[tuple[bytes, bytes], _Pending] = {}
        self._waiting = 0
        self.first = self.last = ""  # times
        self.handed_back = 0  # mails that a content filter returned, which were received before

    def feed(self, line: Line) -> None:
        """Take the next line."""
        event = event_of(line.program, line.text)
        if event is None:
            return
        self.first = self.first or line.time
        self.last = line.time
        if isinstance(event, events.Queued):
            self._queued(line, event)
            return
        key = (line.host, line.tag, line.pid)
        if isinstance(event, events.Ended):
            session = self._sessions.pop(key, None)
            if session is not None:
                self._end(session, _outcome(session, event.starttls))
            return
        session = self._sessions.get(key)
        if session is None or isinstance(event, events.Connected):
            session = self._begin(key, session)
        match event:
            case events.Shown():
                session.shown = event
            case events.Secured():
                self._settle(session, PLAIN)
                session.outcome = PLAIN
                session.link = _secured(event, session.shown)
            case events.Client():
                self._client(line, event, session)
            case events.Passed() if session.proxied is not None:
                self._sent(session.proxied, event.sender)
                session.proxied = None
            case events.Rejected() if event != session.refused:  # once for each mail, not for each recipient
                session.refused = event
                self._refused(event)

    def finish(self) -> None:
        """End all open sessions at the end of the log, with what is known of them."""
        for session in self._sessions.values():
            self._end(session, UNKNOWN)
        self._sessions.clear()
        self._mails.clear()

    def _begin(self, key: tuple[bytes, bytes, bytes], before: _SmtpdSession | None) -> _SmtpdSession:
        if before is not None:  # the end of the session is missing
            self._end(self._sessions.pop(key), UNKNOWN)
        elif len(self._sessions) >= SESSIONS:
            self._end(self._sessions.pop(next(iter(self._sessions))), UNKNOWN)
        session = self._sessions[key] = _SmtpdSession(key[1])
        return session

    def _client(self, line: Line, event: events.Client, session: _SmtpdSession) -> None:
        mail = _Pending(session, event, line.time, session.link)
        if not event.queue_id:
            session.proxied = mail
            return
        key = (line.host, event.queue_id)
        self._mails.pop(key, None)  # a short queue id comes again
        if event.handed_on and _is_loopback(event.address):
            self.handed_back += 1
            return
        if len(self._mails) >= MAILS:
            del self._mails[next(iter(self._mails))]
        self._mails[key] = mail

    def _queued(self, line: Line, event: events.Queued) -> None:
        # Once: qmgr logs it again each time that it tries the mail. Without a client the mail is our own.
        mail = self._mails.pop((line.host, event.queue_id), None)
        if mail is not None:
            self._sent(mail, event.sender)

    def _sent(self, mail: _Pending, sender: str) -> None:
        client, session = mail.client, mail.session
        link = mail.link or session.outcome
        found = Mail(
            client.queue_id.decode("ascii"), mail.time, sender, client.address, client.sasl_username, link or UNKNOWN
        )
        if link is None and self._waiting < WAITING:
            session.waiting.append(found)
            self._waiting += 1
        else:
            self._received(found)

    def _end(self, session: _SmtpdSession, outcome: Link) -> None:
        if session.outcome is None:
            session.outcome = outcome
        self._settle(session, session.outcome)

    def _settle(self, session: _SmtpdSession, link: Link) -> None:
        """Report the mails that waited for TLS of their session to be known."""
        for mail in session.waiting:
            self._received(mail._replace(link=link))
        self._waiting -= len(session.waiting)
        session.waiting.clear()


def _secured(event: events.Secured, shown: events.Shown | None) -> Link:
    if not event.certificate:
        return Link(True, ClientCertificate())
    shown = (shown or events.Shown())._replace(trusted=event.trusted)
    # Postfix gives the names of a certificate only where it verified the chain.
    names = (shown.subject, shown.issuer) if event.trusted else ("", "")
    return Link(True, ClientCertificate(*names, shown.fingerprint, shown.pubkey_fingerprint), shown)


def _outcome(session: _SmtpdSession, starttls: bool | None) -> Link:
    """Derive TLS of a session without a TLS line from the count at its end."""
    if starttls is None:
        return UNKNOWN
    return _TLS if starttls or session.tag.rpartition(b"/")[2] in _WRAPPED else PLAIN


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")
