"""What happens to mails at the door, as a log tells it: a session begins, speaks TLS, sends, is refused, ends."""

from typing import NamedTuple


class Connected(NamedTuple):
    """A session begins."""


class Shown(NamedTuple):
    """A client's certificate as the log has it; None where the log doesn't tell. `trusted`: its chain was verified.

    Names are common names, told also where the chain was not verified; fingerprints are lower-case hex without colons.
    """

    trusted: bool | None = None
    subject: str | None = None
    issuer: str | None = None
    fingerprint: str | None = None
    pubkey_fingerprint: str | None = None


class Secured(NamedTuple):
    """TLS is up. `certificate` says whether the client showed one, `trusted` whether its chain was verified."""

    certificate: bool
    trusted: bool


class Client(NamedTuple):
    """A mail's first recipient was accepted. `queue_id` is "" before a proxy filter.

    `handed_on` names a client that another program says the mail came from before (XFORWARD); we never believe it.
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


class Refused(NamedTuple):
    """A mail, or a recipient of it, was refused, for good or for now. The sender is None where it can't be told."""

    sender: str | None
    address: str
    for_good: bool


class Ended(NamedTuple):
    """A session ended. `starttls` says whether TLS was begun in it, None where Postfix (before 3.0) doesn't tell."""

    starttls: bool | None


Event = Connected | Shown | Secured | Client | Queued | Passed | Refused | Ended
