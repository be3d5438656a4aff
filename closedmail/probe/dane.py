"""What smtp(8) makes of TLS levels dane and dane-only, by what posttls-finger(1) says of a host.

Sources: smtp_tls_policy.c, dane_init(), and smtp_tls_dane_insecure_mx_policy in postconf(5): dane is met with usable
TLSA records only, without them it goes on as encrypt or may; dane-only is met, or mail waits. posttls-finger is an
unsupported program, and goes on as secure where there are no such records. So only those of its lines count that say
what was found; without any of them nothing was, and a host is not ok.
"""

import re
from dataclasses import dataclass
from typing import Literal

from closedmail.words import excerpt

DANE = ("dane", "dane-only")
Records = Literal["usable", "unusable", "none", "failed", "unknown"]

_NAME = "posttls-finger: "
# What stands at the start of a line is the program's own; a server's words come behind it, and never with a line feed.
_SIGNS: tuple[tuple[re.Pattern[str], Records], ...] = (
    (re.compile(r"Failed to establish session to .*: TLSA lookup error for "), "failed"),
    (re.compile(r"DNSSEC-signed TLSA record: "), "usable"),
    (re.compile(r"no usable TLSA records found"), "unusable"),
    (re.compile(r"no TLSA records found"), "none"),
)
_SESSION = re.compile(r"(\w+) TLS connection established to ")
_WHY = re.compile(r"(server )?certificate verification failed for |Failed to establish |Destination |fatal: |SSL_")


@dataclass(frozen=True, slots=True)
class Answer:
    """What posttls-finger found: TLSA records, the trust in its TLS session ("Verified", "Trusted", "Untrusted" or
    "Anonymous"; "" where there was none), and its words on what went wrong."""

    records: Records
    trust: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """How smtp(8) goes on: at this level, "" where it defers whatever the server offers. With `dane` there are TLSA
    records that the server does not meet. `words` say why, "" where it does: then all that is wanted is TLS itself."""

    level: Literal["may", "encrypt", "dane", ""]
    words: str = ""


def read_answer(text: str) -> Answer:
    """Read the output of `posttls-finger -c -l dane-only -L verbose,summary [host]:port`."""
    lines = [line[len(_NAME) :] for line in text.split("\n") if line.startswith(_NAME)]
    records: Records = next((what for sign, what in _SIGNS if any(map(sign.match, lines))), "unknown")
    sessions = [found[1] for line in lines if (found := _SESSION.match(line))]
    words = next((line for line in reversed(lines) if _WHY.match(line)), "")
    return Answer(records, (sessions or [""])[-1], excerpt(words or (lines or ["it said nothing"])[-1]))


def without_records(level: str, *, dnssec: bool, mx_signed: bool, insecure_mx: str) -> Course | None:
    """How smtp(8) goes on where it looks up no TLSA records at all, None where it does.

    `dnssec` says whether it looks names up in the DNS with DNSSEC, `mx_signed` whether the answer that named the host
    was signed, or none was needed; `insecure_mx` is smtp_tls_dane_insecure_mx_policy.
    """
    if not dnssec:
        return _else("may", level, "smtp_dns_support_level is not dnssec, or smtp_host_lookup not dns")
    if not mx_signed and (level == "dane-only" or insecure_mx in ("none", "may")):
        return _else("may", level, "the MX records are not signed (DNSSEC)")
    return None


def course(level: str, answer: Answer, *, mx_signed: bool, insecure_mx: str) -> Course:
    """How smtp(8) goes on after it has looked up TLSA records."""
    if answer.records == "usable":
        if not mx_signed and insecure_mx == "encrypt":
            return Course("encrypt", "the MX records are not signed (DNSSEC): Postfix delivers as at level encrypt")
        if answer.trust == "Verified":
            return Course("encrypt")
        said = "the server is not what its TLSA records say" if answer.trust else "posttls-finger had no TLS session"
        return Course("dane", f"{said}: {answer.words}")
    if answer.records == "none":
        return _else("may", level, "no TLSA record is found in a signed zone")
    if answer.records == "unusable":
        return _else("encrypt", level, "none of the TLSA records is usable")
    if answer.records == "failed":
        return Course("", f"the TLSA records can't be looked up: {answer.words}")
    return Course("", f"posttls-finger tells nothing of TLSA records: {answer.words}")


def _else(lower: Literal["may", "encrypt"], level: str, why: str) -> Course:
    if level == "dane-only":
        return Course("", f"{why}: at level dane-only Postfix does not deliver")
    how = ", if need be in plain text" if lower == "may" else ", whatever the certificate"
    return Course(lower, f"{why}: Postfix delivers as at level {lower}{how}")
