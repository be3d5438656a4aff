"""Parse a server's certificate: names, issuer, times, digests. DER in, values out.

Python's ssl gives the fields of verified certificates only, and the public key of none; in the output of the openssl
command, a certificate's names can imitate any other field. So the few fields that are needed are parsed here (RFC 5280,
section 4.1; X.690 for DER). Names are chosen as Postfix does (tls_verify.c): DNS names of the subjectAltName, else the
subject's first common name; the issuer is the issuer's common name, else its organization.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

_SEQUENCE, _SET, _OID, _OCTETS, _BOOLEAN = 0x30, 0x31, 0x06, 0x04, 0x01
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_ALTERNATIVE_NAMES = b"\x55\x1d\x11"
_STRINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}


class NotACertificate(ValueError):
    """The bytes are not a certificate that can be parsed."""


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """The fields of a certificate. `names` are compared with the names that a policy demands.

    `addresses` are IP addresses in it, which no MTA compares. `subject` and `issuer` are common names, "" for none.
    Times are Unix seconds. Fingerprints are made of `der` and `public_key`.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    not_before: int
    not_after: int
    der: bytes
    public_key: bytes

    def fingerprint(self, digest: str) -> str:
        """Compute the certificate's, in Postfix's form. Raises ValueError for a digest unknown to Python."""
        return _hex(self.der, digest)

    def pubkey_fingerprint(self, digest: str) -> str:
        """Compute the public key's, in Postfix's form (smtp_tls_fingerprint_digest of postconf(5))."""
        return _hex(self.public_key, digest)


def read_certificate(der: bytes) -> ServerCertificate:
    """Parse a certificate. Raises NotACertificate, and nothing else."""
    try:
        return _read(der)
    except (ValueError, IndexError, OverflowError) as error:
        raise NotACertificate(str(error)) from None


def _read(der: bytes) -> ServerCertificate:
    signed, *_ = _inside(der, _SEQUENCE)
    fields = list(_values(_body(signed, _SEQUENCE)))
    if fields and fields[0][0] == _VERSION:
        del fields[0]
    _serial, _algorithm, issuer, validity, subject, key, *rest = fields
    begin, end, *_ = _values(_body(validity, _SEQUENCE))
    names, addresses = _alternative_names(rest)
    common_name = _attribute(subject, _COMMON_NAME)
    return ServerCertificate(
        subject=common_name,
        issuer=_attribute(issuer, _COMMON_NAME) or _attribute(issuer, _ORGANIZATION),
        # A subjectAltName with DNS names in it, if only with broken ones, overrides the common name.
        names=tuple(name for name in names if name) if names else (common_name,) if common_name else (),
        addresses=addresses,
        not_before=_time(begin),
        not_after=_time(end),
        der=der,
        public_key=key[2],
    )


_Value = tuple[int, bytes, bytes]  # tag, contents, all of it


def _values(data: bytes) -> Iterator[_Value]:
    at = 0
    while at < len(data):
        tag, length, start = data[at], data[at + 1], at + 2
        if tag & 0x1F == 0x1F:
            raise ValueError("a tag of several bytes")
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise ValueError("a length that DER doesn't have")
            length, start = int.from_bytes(data[start : start + count], "big"), start + count
        end = start + length
        if end > len(data):
            raise ValueError("cut short")
        yield tag, data[start:end], data[at:end]
        at = end


def _inside(data: bytes, tag: int) -> Iterator[_Value]:
    return _values(_body(next(_values(data), (0, b"", b"")), tag))


def _body(value: _Value, tag: int) -> bytes:
    if value[0] != tag:
        raise ValueError(f"tag {value[0]:#x} where {tag:#x} should be")
    return value[1]


def _attribute(name: _Value, wanted: bytes) -> str:
    """Find the first attribute of a name with this OID, "" where there is none that can be read."""
    for relative in _values(_body(name, _SEQUENCE)):
        for pair in _values(_body(relative, _SET)):
            oid, (tag, text, _), *_ = _values(_body(pair, _SEQUENCE))
            if _body(oid, _OID) == wanted:
                return _text(tag, text)
    return ""


def _text(tag: int, data: bytes) -> str:
    """Decode a string, "" for one that can't be read or has a NUL or a control character, as in tls_text_name()."""
    try:
        text = data.decode(_STRINGS.get(tag, "ascii")).rstrip("\0")
    except UnicodeDecodeError:
        return ""
    return "" if any(char < " " or char == "\x7f" for char in text) else text


def _alternative_names(rest: list[_Value]) -> tuple[list[str], tuple[str, ...]]:
    """Parse a subjectAltName into DNS names, "" for broken ones, and addresses."""
    names: list[str] = []
    addresses: list[str] = []
    for tag, data, _ in rest:
        if tag != _EXTENSIONS:
            continue
        for extension in _inside(data, _SEQUENCE):
            oid, *flags = _values(_body(extension, _SEQUENCE))
            if _body(oid, _OID) != _ALTERNATIVE_NAMES:
                continue
            for kind, value, _ in _inside(_body(flags[-1], _OCTETS), _SEQUENCE):
                if kind == _DNS_NAME:
                    names.append(_text(0x16, value) if b"\0" not in value else "")
                elif kind == _IP_ADDRESS and len(value) in (4, 16):
                    addresses.append(str(ip_address(value)))
    return names, tuple(addresses)


def _time(value: _Value) -> int:
    text = value[1].decode("ascii")
    moment = datetime.strptime(text, _TIMES.get(value[0], "")).replace(tzinfo=UTC)
    if value[0] == 0x17:  # RFC 5280: 50 to 99 are 1950 to 1999, while Python's two-digit years turn at 69
        year = int(text[:2])
        moment = moment.replace(year=1900 + year if year >= 50 else 2000 + year)
    return int(moment.timestamp())


def _hex(data: bytes, digest: str) -> str:
    return hashlib.new(digest, data, usedforsecurity=False).digest().hex(":").upper()
