"""Name what a file without an OpenPGP signature is instead, so that the network can be asked for the right one.

Sources: RFC 8551 (S/MIME: `application/pkcs7-mime`, `multipart/signed` with `pkcs7-signature`), RFC 7468 (PEM:
PKCS7 and CMS), RFC 5652 (CMS: the object identifier of signed data), RFC 3156 (PGP/MIME).
"""

import re

from closedmail.errors import Refused
from closedmail.lists.faults import unsigned

_WHAT_TO_ASK = (
    "ask the network for the list as a file that OpenPGP signs as a whole: clearsigned (gpg --clearsign), or with a "
    "detached signature beside it"
)
# A header field with its continued lines (RFC 5322, 2.2.3).
_CONTENT_TYPE = re.compile(rb"^Content-Type:((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE | re.MULTILINE)
_PKCS7 = re.compile(rb"application/(?:x-)?pkcs7-(?:mime|signature)")
_PGP_MIME = b"application/pgp-signature"
_PEM = re.compile(rb"^-----BEGIN (?:PKCS7|CMS|PKCS #7 SIGNED DATA)-----", re.MULTILINE)
_SIGNED_DATA = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"  # DER of 1.2.840.113549.1.7.2
_SEQUENCE = b"\x30"
_PGP_LINE = re.compile(rb"^-----BEGIN PGP ", re.MULTILINE)


def not_openpgp(head: bytes) -> Refused:
    """Make the refusal (`unsigned`) of a file that has no OpenPGP signature around a text, by its first bytes."""
    if is_smime(head):
        return Refused("unsigned", f"the list is signed by S/MIME, which is not OpenPGP and not read; {_WHAT_TO_ASK}")
    if any(_PGP_MIME in found.lower() for found in _CONTENT_TYPE.findall(head)):
        return Refused("unsigned", f"the file is a mail that is signed by PGP/MIME, which is not read; {_WHAT_TO_ASK}")
    if b"\r" in head and b"\n" not in head and _PGP_LINE.search(head.replace(b"\r", b"\n")):
        return Refused(
            "unsigned",
            "the lines of the signed file end with CR alone, as on old Macs, where OpenPGP finds no signature; ask the "
            "network to publish it with LF or CR LF",
        )
    return unsigned("the list is not signed")


def is_smime(head: bytes) -> bool:
    """Tell whether a file is S/MIME: a mail, PEM or DER."""
    binary = head.startswith(_SEQUENCE) and _SIGNED_DATA in head[:32]
    return (
        binary
        or _PEM.search(head) is not None
        or any(_PKCS7.search(found.lower()) for found in _CONTENT_TYPE.findall(head))
    )
