"""Find the TLS level that smtp(8) applies at levels dane and dane-only, from the output of posttls-finger(1).

Sources: smtp_tls_policy.c, dane_init(), and smtp_tls_dane_insecure_mx_policy in postconf(5): dane is met with usable
TLSA records only, without them it goes on as encrypt or may; dane-only is met, or mail waits. posttls-finger is an
unsupported program, and goes on as secure where there are no such records. So only those of its lines count that name
a finding; without any of them nothing is known, and a host is not ok.
"""

import re
from dataclasses import dataclass
from typing import Literal

from closedmail.words import excerpt

DANE = ("dane", "dane-only")
Records = Literal["usable", "unusable", "none", "failed", "unknown"]

_NAME = "posttls-finger: "
# The start of a line is the program's own; a server's text comes after it, and never with a line feed.
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
    """The findings of posttls-finger: TLSA records, the trust in its TLS session, and its own text on a failure.

    The trust is "Verified", "Trusted", "Untrusted" or "Anonymous"; "" where there was no session.
    """

    records: Records
    trust: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class EffectiveLevel:
    """The level that smtp(8) applies, "" where it defers whatever the server offers.

    At `dane` there are TLSA records that the server does not match. `words` is the reason, "" where the server matches:
    then TLS itself is enough.
    """

    level: Literal["may", "encrypt", "dane", ""]
    words: str = ""


def read_answer(text: str) -> Answer:
    """Read the output of `posttls-finger -c -l dane-only -L verbose,summary [host]:port`."""
    lines = [line[len(_NAME) :] for line in text.split("\n") if line.startswith(_NAME)]
    records: Records = next((what for sign, what in _SIGNS if any(map(sign.match, lines))), "unknown")
    sessions = [found[1] for line in lines if (found := _SESSION.match(line))]
    words = next((line for line in reversed(lines) if _WHY.match(line)), "")
    return Answer(records, (sessions or [""])[-1], excerpt(words or (lines or ["no output"])[-1]))


def level_without_records(level: str, *, dnssec: bool, mx_signed: bool, insecure_mx: str) -> EffectiveLevel | None:
    """Find the level that smtp(8) applies without any look-up of TLSA records, None where it looks them up.

    `dnssec`: names are looked up in the DNS with DNSSEC. `mx_signed`: the answer that named the host was signed, or
    none was needed. `insecure_mx` is smtp_tls_dane_insecure_mx_policy.
    """
    if not dnssec:
        return _fall_back("may", level, "smtp_dns_support_level is not dnssec, or smtp_host_lookup not dns")
    if not mx_signed and (level == "dane-only" or insecure_mx in ("none", "may")):
        return _fall_back("may", level, "the MX records are not signed (DNSSEC)")
    return None


def effective_level(level: str, answer: Answer, *, mx_signed: bool, insecure_mx: str) -> EffectiveLevel:
    """Find the level that smtp(8) applies after a look-up of TLSA records."""
    if answer.records == "usable":
        if not mx_signed and insecure_mx == "encrypt":
            return EffectiveLevel(
                "encrypt", "the MX records are not signed (DNSSEC): Postfix delivers as at level encrypt"
            )
        if answer.trust == "Verified":
            return EffectiveLevel("encrypt")
        said = "the server does not match its TLSA records" if answer.trust else "posttls-finger had no TLS session"
        return EffectiveLevel("dane", f"{said}: {answer.words}")
    if answer.records == "none":
        return _fall_back("may", level, "no TLSA record is found in a signed zone")
    if answer.records == "unusable":
        return _fall_back("encrypt", level, "none of the TLSA records is usable")
    if answer.records == "failed":
        return EffectiveLevel("", f"the TLSA records can't be looked up: {answer.words}")
    return EffectiveLevel("", f"posttls-finger reported no look-up of TLSA records: {answer.words}")


def _fall_back(lower: Literal["may", "encrypt"], level: str, why: str) -> EffectiveLevel:
    if level == "dane-only":
        return EffectiveLevel("", f"{why}: at level dane-only Postfix does not deliver")
    how = ", if need be in plain text" if lower == "may" else ", whatever the certificate"
    return EffectiveLevel(lower, f"{why}: Postfix delivers as at level {lower}{how}")
