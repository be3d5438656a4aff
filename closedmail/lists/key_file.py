"""Name what a key file is instead, in which gpg finds no key, and what to do about it.

Sources: GnuPG kbx/keybox-blob.c (the magic of a keybox), RFC 9580, 6.2 (armor), RFC 7468 (PEM).
"""

import re
import shlex

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16 = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"-\0": "UTF-16LE", b"\0-": "UTF-16BE"}
_KEYBOX, _KEYBOX_AT = b"KBXf", 8
_HTML = re.compile(rb"<(?:!doctype|html|head|body)\b", re.IGNORECASE)
_PEM = re.compile(rb"^-----BEGIN (?!PGP )[A-Z0-9 #]+-----", re.MULTILINE)
_SIGNED = re.compile(rb"^-----BEGIN PGP (?:SIGNED MESSAGE|MESSAGE|SIGNATURE)-----", re.MULTILINE)
_KEY_PACKETS = (b"\x98", b"\x99", b"\xc6")  # a public key of old and of new format (RFC 9580, 4.2)
_KEY = re.compile(rb"-----BEGIN PGP (?:PUBLIC|PRIVATE) KEY BLOCK-----")


def why_no_key(path: str, head: bytes) -> str:
    """Say what the file `path` is that begins with `head`, and gives gpg no key."""
    name = shlex.quote(path)
    text = head.lstrip()
    if not text.removeprefix(_UTF8_MARK).strip():
        what = "is empty; put the network's public key there"
    elif encoding := _UTF16.get(text[:2]):
        what = f"is text in UTF-16, as Windows makes it; convert it: iconv -f {encoding} -t ASCII {name} > NEW_FILE"
    elif head[_KEYBOX_AT : _KEYBOX_AT + len(_KEYBOX)] == _KEYBOX:
        what = (
            "is a keybox, gpg's own database; export the key from it: "
            f"gpg --no-default-keyring --keyring {name} --armor --export FINGERPRINT"
        )
    elif _HTML.search(head):
        what = "is a web page, perhaps of a login or an error; fetch the key itself"
    elif text.startswith(_UTF8_MARK):
        what = (
            "begins with a byte order mark (BOM), which gpg does not skip; take it away: "
            f"sed -i '1s/^\\xef\\xbb\\xbf//' {name}"
        )
    elif _PEM.search(head):
        what = "has a certificate or key of X.509 or SSH, not of OpenPGP; ask the network for its OpenPGP key"
    elif _SIGNED.search(head):
        what = "is something signed, perhaps the list, and not a key; ask the network for its OpenPGP key"
    elif _KEY.search(head) or head.startswith(_KEY_PACKETS):
        what = (
            "has an OpenPGP key that gpg does not take: cut short, indented, with other ends of lines, or without a "
            "user ID, as some key servers give it; ask the network for the whole key"
        )
    else:
        what = "has no OpenPGP key; put the network's public key there"
    return f"{path} {what}"
