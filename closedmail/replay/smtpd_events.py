"""Define the events of smtpd's sessions, as logged: a session begins, starts TLS, sends, is rejected, ends."""

from typing import NamedTuple


class Connected(NamedTuple):
    """A session begins."""


class Shown(NamedTuple):
    """A client's certificate as logged; None for what is not in the log. `trusted`: its chain was verified.

    Names are common names, logged even of a chain that was not verified; fingerprints are lower-case hex, no colons.
    """

    trusted: bool | None = None
    subject: str | None = None
    issuer: str | None = None
    fingerprint: str | None = None
    pubkey_fingerprint: str | None = None


class Secured(NamedTuple):
    """TLS is up. `certificate` is true if the client showed one, `trusted` if its chain was verified."""

    certificate: bool
    trusted: bool


class Client(NamedTuple):
    """A mail's first recipient was accepted. `queue_id` is "" before a proxy filter.

    `handed_on`: another program forwarded the mail and named its client (XFORWARD), which is never believed.
    """

    queue_id: bytes
    address: str
    sasl_username: str
    handed_on: bool


class Queued(NamedTuple):
    """A mail is in the queue, with the sender that it has there."""

    queue_id: bytes
    sender: str


class Passed(NamedTuple):
    """A mail went through a proxy filter (smtpd_proxy_filter)."""

    sender: str


class Rejected(NamedTuple):
    """A mail, or a recipient of it, was rejected, for good or for now. The sender is None where it is not known."""

    sender: str | None
    address: str
    for_good: bool


class Ended(NamedTuple):
    """A session ended. `starttls`: TLS was started in it; None where Postfix (before 3.0) does not log it."""

    starttls: bool | None


Event = Connected | Shown | Secured | Client | Queued | Passed | Rejected | Ended
