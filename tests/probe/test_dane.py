"""What posttls-finger says, as Postfix 3.7 says it, and what smtp(8) makes of it; test_probe_dane.py asks both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedmail.probe.dane import DANE, Answer, EffectiveLevel, effective_level, level_without_records, read_answer

AT = "right.signed.example[127.0.0.21]:25"
RECORD = "DNSSEC-signed TLSA record: _25._tcp.right.signed.example: 3 1 1 2555FB37"
SESSION = f"TLS connection established to {AT}: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
MISMATCH = f"server certificate verification failed for {AT}: num=65:no matching DANE TLSA records"
UNKNOWN_CA = f"certificate verification failed for {AT}: self-signed certificate"
UNUSABLE = "warning: _25._tcp.right.signed.example unsupported TLSA certificate usage: 1 1 1 00"
BOGUS = "Failed to establish session to [right.signed.example] via right.signed.example: TLSA lookup error for x:25"
REFUSED = f"Failed to establish session to [right.signed.example]:25 via x: connect to {AT}: Connection refused"
NO_HOST = "Destination address lookup failed: Host or domain name not found. Name service error for name=x type=A"


def said(*lines: str) -> str:
    start = ("initializing the client-side TLS engine",)
    return "".join(f"posttls-finger: {line}\n" for line in (*start, *lines))


@pytest.mark.parametrize(
    ("text", "records", "trust", "words"),
    [
        (said(RECORD, f"Verified {SESSION}"), "usable", "Verified", f"Verified {SESSION}"),
        (said(RECORD, MISMATCH, f"Untrusted {SESSION}"), "usable", "Untrusted", MISMATCH),
        (said(UNUSABLE, RECORD, f"Verified {SESSION}"), "usable", "Verified", f"Verified {SESSION}"),
        (said(RECORD, REFUSED), "usable", "", REFUSED),
        (said('no TLSA records found, resorting to "secure"', f"Verified {SESSION}"), "none", "Verified", None),
        (said(UNUSABLE, 'no usable TLSA records found, resorting to "secure"', UNKNOWN_CA), "unusable", "", UNKNOWN_CA),
        (said(BOGUS), "failed", "", BOGUS),
        (said(RECORD, BOGUS), "failed", "", BOGUS),  # of another address of the host
        (said(NO_HOST), "unknown", "", NO_HOST),
        (said(f"Verified {SESSION}"), "unknown", "Verified", None),
        (said(RECORD, f"Verified {SESSION}", f"Untrusted {SESSION}"), "usable", "Untrusted", None),
        ("", "unknown", "", "no output"),
        # What a server or a certificate says stands behind the program's own words.
        (said(f"subject_CN=posttls-finger: {RECORD}", f"x: Verified {SESSION}"), "unknown", "", None),
        (f"{RECORD}\nVerified {SESSION}\n", "unknown", "", "no output"),
    ],
)
def test_what_it_says(text: str, records: str, trust: str, words: str | None) -> None:
    answer = read_answer(text)
    assert (answer.records, answer.trust) == (records, trust)
    if words is not None:
        assert answer.words == words


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    for answer in (read_answer(text), read_answer(said(*text.split("\n")))):
        assert answer.words.isprintable()
        assert len(answer.words) <= 200


@given(st.text(), st.sampled_from([RECORD, f"Verified {SESSION}", BOGUS, 'no TLSA records found, resorting to "x"']))
def test_only_whole_lines_count(text: str, sign: str) -> None:
    """Whatever stands in front of a sign, it is none any more."""
    line = text.replace("\n", " ") + "posttls-finger: " + sign
    assert read_answer(f"{MISMATCH}: {line}\n") == read_answer("")


VERIFIED, OTHER = Answer("usable", "Verified"), Answer("usable", "Untrusted", "no match")
# Records and trust; with signed MX records, and with unsigned ones where smtp_tls_dane_insecure_mx_policy is encrypt.
COURSES = {
    VERIFIED: ("encrypt", "encrypt", "encrypt"),
    OTHER: ("dane", "dane", "encrypt"),
    Answer("usable", "Trusted"): ("dane", "dane", "encrypt"),
    Answer("usable"): ("dane", "dane", "encrypt"),
    Answer("none", "Verified"): ("may", "", "may"),
    Answer("unusable", "Verified"): ("encrypt", "", "encrypt"),
    Answer("failed"): ("", "", ""),
    Answer("unknown", "Verified"): ("", "", ""),
}


@pytest.mark.parametrize("answer", COURSES)
def test_how_postfix_goes_on(answer: Answer) -> None:
    signed = {level: effective_level(level, answer, mx_signed=True, insecure_mx="encrypt") for level in DANE}
    unsigned = effective_level("dane", answer, mx_signed=False, insecure_mx="encrypt")
    assert (signed["dane"].level, signed["dane-only"].level, unsigned.level) == COURSES[answer]
    # Only what is met needs no words; and where the demand is met, it is so at both levels.
    assert {level for level in DANE if not signed[level].words} == (set(DANE) if answer is VERIFIED else set())
    assert unsigned.words
    assert effective_level("dane", answer, mx_signed=False, insecure_mx="dane") == signed["dane"]


@pytest.mark.parametrize(
    ("level", "dnssec", "mx_signed", "insecure_mx", "found"),
    [
        ("dane", True, True, "may", None),
        ("dane-only", True, True, "may", None),
        ("dane", False, True, "dane", "may"),
        ("dane-only", False, True, "dane", ""),
        ("dane", True, False, "may", "may"),
        ("dane", True, False, "none", "may"),
        ("dane", True, False, "encrypt", None),
        ("dane", True, False, "dane", None),
        ("dane-only", True, False, "dane", ""),
    ],
)
def test_where_nothing_is_looked_up(
    level: str, dnssec: bool, mx_signed: bool, insecure_mx: str, found: str | None
) -> None:
    taken = level_without_records(level, dnssec=dnssec, mx_signed=mx_signed, insecure_mx=insecure_mx)
    assert (taken and taken.level) == found
    assert taken is None or taken == EffectiveLevel(taken.level, taken.words)
    assert taken is None or ("does not deliver" in taken.words) is (found == "")
