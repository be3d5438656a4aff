"""What Postfix's smtpd and qmgr say in the log, as events: connect, TLS, client, sender, refusal, end.

Names, senders and certificates come from strangers, who may write whatever looks like a line of their own. So every
pattern is anchored at what Postfix itself writes at both ends, and a line that reads in two ways is no event. Postfix
makes control characters `?` before it logs, so that no stranger ends a line. Forms as Postfix 3.7 writes them
(src/smtpd/smtpd.c, smtpd_check.c, smtpd_proxy.c, src/tls/tls_server.c, src/qmgr/qmgr_message.c), older ones where they
differ little.
"""

import re
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

# A queue id, short or long, never a word like `warning`; the name and address of a client, with its port where
# smtpd_client_port_logging is on. A name is what the DNS says, and smtpd takes no brackets in it.
_ID = rb"(?=[a-z]*[0-9A-Z])[0-9A-Za-z]{1,32}"
_PEER = rb"[^\s\[\]]*\[([^\s\[\]]*)\](?::\d+|:unknown)?"
# An address as info_log_addr_form = external writes it: quoted where it must be, else without blanks or brackets.
_ADDRESS = rb'(?:"(?:[^"\\]|\\.)*+"|[^"<>\s])*+'
_HEX = rb"(?:[0-9A-F]{2}:)+[0-9A-F]{2}"

_CONNECT = re.compile(rb"connect from " + _PEER)
_END = re.compile(rb"disconnect from %b((?: [a-z]+=\d+(?:/\d+)?)*)" % _PEER)
_SECURED = re.compile(
    rb"(Anonymous|Untrusted|Trusted|Verified) TLS connection (?:established|reused) from %b: \S+ with cipher .*" % _PEER
)
_SHOWN = re.compile(
    rb"%b: (?:(?:Trusted|Untrusted): )?subject_CN=(.*), fingerprint=(%b)(?:, pkey_fingerprint=(%b))?"
    % (_PEER, _HEX, _HEX)
)
_CLIENT = re.compile(
    rb"(%b): client=%b(?:, orig_queue_id=[0-9A-Za-z]+)?(, orig_client=%b)?"
    rb"(?:, sasl_method=[^,\s]*)?(?:, sasl_username=(.*?))?(?:, sasl_sender=.*)?" % (_ID, _PEER, _PEER)
)
_REFUSED = re.compile(
    rb"(?:NOQUEUE: reject: [A-Z-]+|%b: reject: (?:DATA|END-OF-MESSAGE)) from %b: ([45])\d\d .*" % (_ID, _PEER)
)
_PASSED = re.compile(rb"(?:(?:NOQUEUE|%b): )?proxy-accept: END-OF-MESSAGE(?: from %b)?: 2\d\d .*" % (_ID, _PEER))
_TAIL = re.compile(rb"; from=<(%b)>(?: to=<%b>)? proto=[A-Z]+ helo=<[^<>]*>" % (_ADDRESS, _ADDRESS))
_TAIL_MARK = b"; from=<"
_MOST_MARKS = 16  # more of them are a stranger's play
_QUEUED = re.compile(rb"(%b): from=<(.*)>, size=\d+, nrcpt=\d+ \(queue \w+\)" % _ID)
_NO_QUEUE = b"NOQUEUE"


def event_of(program: bytes, text: bytes) -> Event | None:
    """What a line says; None where it says nothing that we ask for, or says it in a way that we don't know."""
    if program != b"smtpd":
        found = _QUEUED.fullmatch(text)
        return Queued(found[1], _text(found[2])) if found else None
    if b": client=" in text:
        found = _CLIENT.fullmatch(text)
        if found:
            queue_id = b"" if found[1] == _NO_QUEUE else found[1]
            return Client(queue_id, _address(found[2]), _text(found[5] or b""), found[3] is not None)
    if text.startswith(b"connect from "):
        return Connected() if _CONNECT.fullmatch(text) else None
    if text.startswith(b"disconnect from "):
        found = _END.fullmatch(text)
        return Ended(_begun(found[2])) if found else None
    if b" TLS connection " in text:
        found = _SECURED.fullmatch(text)
        if found:
            return Secured(found[1] != b"Anonymous", found[1] in (b"Trusted", b"Verified"))
    if b": subject_CN=" in text:
        found = _SHOWN.fullmatch(text)
        return _shown(found[2], found[3], found[4]) if found else None
    if b"reject: " in text:
        found = _REFUSED.fullmatch(text)
        return Refused(_sender(text), _address(found[1]), found[2] == b"5") if found else None
    if b"proxy-accept: " in text and _PASSED.fullmatch(text):
        sender = _sender(text)
        return None if sender is None else Passed(sender)
    return None


def _begun(counters: bytes) -> bool | None:
    """Whether STARTTLS succeeded, by the counters at the end of a session (`starttls=1`, or `0/1` where it failed)."""
    if not counters:
        return None
    return any(word.startswith(b"starttls=") and not word.startswith(b"starttls=0") for word in counters.split())


def _sender(text: bytes) -> str | None:
    """The sender at the end of a refusal; None where there is none, or where more than one end is possible.

    The reply in front of it and the recipient may hold a stranger's text that looks the same.
    """
    found, at = None, text.find(_TAIL_MARK)
    for _ in range(_MOST_MARKS):
        if at < 0:
            return found
        tail = _TAIL.fullmatch(text, at)
        if tail:
            if found is not None:
                return None
            found = _text(tail[1])
        at = text.find(_TAIL_MARK, at + 1)
    return None


def _shown(names: bytes, fingerprint: bytes, pubkey: bytes | None) -> Shown:
    subject, _, issuer = names.partition(b", issuer=")
    told = b", issuer=" not in issuer
    return Shown(
        None,
        _name(subject) if told else None,
        _name(issuer) if told else None,
        _hex(fingerprint),
        _hex(pubkey) if pubkey else None,
    )


def _name(name: bytes) -> str | None:
    """A common name; None where Postfix may have replaced characters of it."""
    try:
        return None if b"?" in name else name.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _hex(value: bytes) -> str:
    return value.decode("ascii").replace(":", "").lower()


def _address(value: bytes) -> str:
    return value.decode("ascii", "replace")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
