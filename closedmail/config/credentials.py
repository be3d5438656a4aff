"""Parse credentials: OpenPGP fingerprints, certificate names and fingerprints, and Postfix's TLS policies."""

import re

from closedmail.config.toml_table import Kind
from closedmail.config.wording import one_of
from closedmail.core.domain import DomainError, parse_key
from closedmail.core.host import parse_line
from closedmail.routes.tls_protocols import GRADES, NAMES
from closedmail.words import quote

# MD5, SHA-1, SHA-256, SHA-384 and SHA-512: what smtpd_tls_fingerprint_digest of postconf(5) may name.
DIGEST_BYTES = (16, 20, 32, 48, 64)
# What a postconf(5) match list may name instead of a name (smtp_tls_verify_cert_match).
_MATCH_STRATEGIES = ("hostname", "nexthop", "dot-nexthop")


def parse_signing_key(text: str) -> str:
    """Parse an OpenPGP fingerprint; return 40 upper-case digits.

    Blanks, as gpg prints them, colons, and a 0x before it mean nothing.
    """
    digits = re.sub(r"[\s:]", "", text).upper().removeprefix("0X")
    if re.fullmatch(r"[0-9A-F]{40}", digits):
        return digits
    if not re.fullmatch(r"[0-9A-F]+", digits):
        what = "it has other characters than hex digits"
    elif len(digits) in (8, 16):
        what = "a key ID is too easily forged"
    else:
        what = f"it has {len(digits)} hex digits"
    raise ValueError(
        f"found {quote(text)}; write the whole fingerprint of the primary key, 40 hex digits (gpg --fingerprint), "
        f"{what}"
    )


def parse_common_name(text: str) -> str:
    """Parse the common name of a certificate's subject or issuer, kept as it is written."""
    if not text.strip():
        raise ValueError("found an empty common name, which no certificate is matched by; write it or remove the key")
    # `openssl x509 -subject` prints the whole distinguished name, of which the MTA hands over the CN alone.
    if re.search(r"(?:^|[/,+=]\s*)CN\s*=", text):
        raise ValueError(f"found {quote(text)}; only the common name is compared, write what follows CN=")
    return parse_line(text)


def parse_fingerprint(text: str) -> str:
    """Parse a digest of a certificate or public key; return lower-case hex without colons."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*|[0-9A-Fa-f]+", text):
        raise ValueError(
            f'found {quote(text)}; a fingerprint is hex digits, with a colon after each two ("AA:BB:…") or none'
        )
    digits = text.replace(":", "").lower()
    if len(digits) % 2 or len(digits) // 2 not in DIGEST_BYTES:
        raise ValueError(
            f"a fingerprint of {len(digits)} hex digits; possible are 32 (MD5), 40 (SHA-1), 64 (SHA-256), 96 and 128,"
            " write all of it"
        )
    return digits


def parse_fingerprint_match(text: str) -> str:
    """Parse a fingerprint; return it as Postfix spells it: AA:BB:…"""
    digits = parse_fingerprint(text).upper()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def parse_name_match(text: str) -> str:
    """Parse the name that a server certificate must have: `x`, `.x`, or a strategy of postconf(5)."""
    if text in _MATCH_STRATEGIES:
        return text
    try:
        return parse_key(parse_line(text))
    except DomainError as error:
        raise ValueError(
            f'found {quote(text)}, no name: {error}; write such as "mx.partner.example", ".partner.example" for all'
            " below it, or a strategy of Postfix (nexthop, dot-nexthop, hostname)"
        ) from None


def parse_tls_protocols(text: str) -> str:
    """Parse protocols, separated by colons, blanks or commas; return them with colons, as a TLS policy row has them."""
    low, high = 0, len(NAMES) - 1
    named, excluded, words = set(), set(), []
    for word in re.split(r"[\s,:]+", text) if text else []:
        found = re.fullmatch(r"(!|>=|<=|)([A-Za-z0-9.]+)", word)
        version = next((at for at, name in enumerate(NAMES) if found and name.lower() == found[2].lower()), None)
        if not found or version is None:
            raise ValueError(
                f'found {quote(text)}: {quote(word)} is no protocol; write such as ">=TLSv1.2" or "!SSLv3:!TLSv1",'
                f" of {', '.join(NAMES)}"
            )
        words.append(found[1] + NAMES[version])
        match found[1]:
            case ">=":
                low = version
            case "<=":
                high = version
            case "!":
                excluded.add(version)
            case _:
                named.add(version)
    if not (named or set(range(len(NAMES)))) & set(range(low, high + 1)) - excluded:
        raise ValueError(f"found {quote(text)}, which leaves no protocol at all; allow one, or leave the key out")
    return ":".join(words)


def parse_tls_ciphers(text: str) -> str:
    """Parse a cipher grade of postconf(5) (smtp_tls_mandatory_ciphers), or "" for the one in main.cf."""
    if text and text.lower() not in GRADES:
        raise ValueError(f'found {quote(text)}; allowed are {one_of(GRADES)}, or "" for main.cf\'s')
    return text.lower()


COMMON_NAME = Kind(parse_common_name, '"mx.partner.example"')
SIGNING_KEY = Kind(parse_signing_key, '"0123456789ABCDEF0123456789ABCDEF01234567"')
FINGERPRINT = Kind(parse_fingerprint, '"AA:BB:…"')
FINGERPRINT_MATCH = Kind(parse_fingerprint_match, '"AA:BB:…"')
NAME_MATCH = Kind(parse_name_match, '"mx.partner.example"')
TLS_PROTOCOLS = Kind(parse_tls_protocols, '">=TLSv1.2"')
TLS_CIPHERS = Kind(parse_tls_ciphers, '"high"')
