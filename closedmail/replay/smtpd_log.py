"""Parse log lines of Postfix's smtpd and qmgr into events: connect, TLS, client, sender, rejection, end.

Names, senders and certificates come from strangers, who may write whatever looks like a line of their own. So every
pattern is anchored at what Postfix itself writes at both ends, and an ambiguous line is no event. Postfix
makes control characters `?` before it logs, so that no stranger ends a line. Forms as Postfix 3.7 writes them
(src/smtpd/smtpd.c, smtpd_check.c, smtpd_proxy.c, src/tls/tls_server.c, src/qmgr/qmgr_message.c), older ones where they
differ little.
"""

import re
from collections.abc import Callable, Mapping

from closedmail.replay.smtpd_events import Client, Connected, Ended, Event, Passed, Queued, Rejected, Secured, Shown

# A queue id, short or long, never a word like `warning`; the name and address of a client, with its port where
# smtpd_client_port_logging is on. A name comes from the DNS, and smtpd accepts no brackets in it.
_ID = rb"(?=[a-z]*[0-9A-Z])[0-9A-Za-z]{1,32}"
_PEER = rb"[^\s\[\]]*\[[^\s\[\]]*\](?::\d+|:unknown)?"
_FROM = rb"[^\s\[\]]*\[([^\s\[\]]*)\](?::\d+|:unknown)?"
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
    rb"(?:, sasl_method=[^,\s]*)?(?:, sasl_username=(.*?))?(?:, sasl_sender=.*)?" % (_ID, _FROM, _PEER)
)
_REFUSED = re.compile(
    rb"(?:NOQUEUE: reject: [A-Z-]+|%b: reject: (?:DATA|END-OF-MESSAGE)) from %b: ([45])\d\d .*" % (_ID, _FROM)
)
_PASSED = re.compile(rb"(?:(?:NOQUEUE|%b): )?proxy-accept: END-OF-MESSAGE(?: from %b)?: 2\d\d .*" % (_ID, _PEER))
_TAIL = re.compile(rb"; from=<(%b)>(?: to=<%b>)? proto=[A-Z]+ helo=<[^<>]*>" % (_ADDRESS, _ADDRESS))
_TAIL_MARK = b"; from=<"
_MOST_MARKS = 16  # more of them are a stranger's attempt to confuse
_QUEUED = re.compile(rb"(%b): from=<(.*)>, size=\d+, nrcpt=\d+ \(queue \w+\)" % _ID)
_NO_QUEUE = b"NOQUEUE"


def event_of(program: bytes, text: bytes) -> Event | None:
    """Parse a line; None for one without an event of ours, or of an unknown form."""
    if program != b"smtpd":
        found = _QUEUED.fullmatch(text)
        return Queued(found[1], _text(found[2])) if found else None
    # No stranger controls the first words of a line, so that they alone decide what it is.
    first, _, rest = text.partition(b" ")
    if first in _FIRST_WORDS:
        return _FIRST_WORDS[first](text)
    if first.endswith(b":"):
        second = _SECOND.match(rest)
        return _SECOND_WORDS[second[0]](text) if second else None
    return None


def _connected(text: bytes) -> Event | None:
    return Connected() if _CONNECT.fullmatch(text) else None


def _ended(text: bytes) -> Event | None:
    found = _END.fullmatch(text)
    return Ended(_starttls(found[1])) if found else None


def _is_secured(text: bytes) -> Event | None:
    found = _SECURED.fullmatch(text)
    return Secured(found[1] != b"Anonymous", found[1] in (b"Trusted", b"Verified")) if found else None


def _shown(text: bytes) -> Event | None:
    found = _SHOWN.fullmatch(text)
    if not found:
        return None
    subject, _, issuer = found[1].partition(b", issuer=")
    names = (None, None) if b", issuer=" in issuer else (_name(subject), _name(issuer))
    return Shown(None, *names, _hex(found[2]), _hex(found[3]) if found[3] else None)


def _client(text: bytes) -> Event | None:
    found = _CLIENT.fullmatch(text)
    if not found:
        return None
    queue_id = b"" if found[1] == _NO_QUEUE else found[1]
    return Client(queue_id, _address(found[2]), _text(found[4] or b""), found[3] is not None)


def _is_refused(text: bytes) -> Event | None:
    found = _REFUSED.fullmatch(text)
    return Rejected(_sender(text), _address(found[1]), found[2] == b"5") if found else None


def _passed(text: bytes) -> Event | None:
    sender = _sender(text) if _PASSED.fullmatch(text) else None
    return None if sender is None else Passed(sender)


_Reader = Callable[[bytes], Event | None]
_FIRST_WORDS: Mapping[bytes, _Reader] = {
    b"connect": _connected,
    b"disconnect": _ended,
    b"Anonymous": _is_secured,
    b"Untrusted": _is_secured,
    b"Trusted": _is_secured,
    b"Verified": _is_secured,
    b"proxy-accept:": _passed,
}
# Behind a queue id, or a client.
_SECOND_WORDS: Mapping[bytes, _Reader] = {
    b"client=": _client,
    b"reject:": _is_refused,
    b"proxy-accept:": _passed,
    b"subject_CN=": _shown,
    b"Trusted:": _shown,
    b"Untrusted:": _shown,
}
_SECOND = re.compile(b"|".join(map(re.escape, _SECOND_WORDS)))


def _starttls(counters: bytes) -> bool | None:
    """Check whether STARTTLS succeeded, by the counters at a session's end (`starttls=1`; `0/1` where it failed)."""
    if not counters:
        return None
    return any(word.startswith(b"starttls=") and not word.startswith(b"starttls=0") for word in counters.split())


def _sender(text: bytes) -> str | None:
    """Find the sender at the end of a rejection; None where there is none, or where more than one end is possible.

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


def _name(name: bytes) -> str | None:
    """Decode a common name; None where Postfix may have replaced characters of it."""
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
