"""What is said when a list is refused, word for word, and the shape of the tables of bad lists."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from closedmail.errors import Code
from support.signed_lists.list_keys import Keys

NAMES = "check that source and signature name the signed list"
OPERATOR = "ask the network's operator"
ONE = f"where exactly one signature is accepted; {OPERATOR}"
ONLY = "the file may contain nothing but the signed block"
AGAIN = "it was damaged or cut short on the way, fetch it again"


def unsigned(what: str) -> str:
    return f"{what}; {NAMES}"


def not_openpgp(what: str) -> str:
    return (
        f"{what} not read; ask the network for the list as a file that OpenPGP signs as a whole: clearsigned "
        "(gpg --clearsign), or with a detached signature beside it"
    )


def several(what: str) -> str:
    return f"{what}, {ONE}"


def extra_text(where: str) -> str:
    return f"there is unsigned text {where}; {ONLY}"


def damaged(what: str) -> str:
    return f"{what}; {AGAIN}"


def gpg_failed(said: str) -> str:
    return f"gpg could not verify the list ({said}); it is probably damaged, fetch it again"


def stranger(key: str) -> str:
    return (
        f"the list is signed by {key}, which is not among signing_keys; if the network changed its key, verify the new "
        "fingerprint by phone, add it to signing_keys and the public key to key_file"
    )


def older(key: str) -> str:
    return f"the signature is older than its key {key}; the network's operator must sign the list again"


def weak(digest: str) -> str:
    return (
        f"the signature is made with {digest}, which can be forged; the network's operator must sign with SHA-256 or "
        "better"
    )


def revoked(key: str) -> str:
    return f"the signing key {key} has been revoked; {OPERATOR} for the new one, and verify its fingerprint by phone"


def expired(key: str) -> str:
    return f"the signing key {key} has expired; {OPERATOR} for the renewed key, and update key_file"


def future(seconds: str) -> str:
    return (
        f"the list is signed {seconds} seconds ahead of this machine's clock; check the clock here, then {OPERATOR} to "
        "check theirs"
    )


CHANGED = (
    f"the signature does not fit the list, which was changed or damaged on the way; fetch it again, and {OPERATOR} if "
    "it stays so"
)

# What is fetched: a list, or a list and its detached signature.
Files = bytes | tuple[bytes, bytes]


@dataclass(frozen=True)
class Bad:
    """A bad file, or a list with a bad detached signature, and what it must be refused with.

    `{net}` in the message stands for that key of `Keys`, `{net_sub}` for the subkey of it that signs.
    """

    code: Code
    reason: str
    make: Callable[[Keys], Files]

    def said(self, keys: Keys) -> str:
        """The whole message."""
        names = {name: signer.fingerprint for name, signer in keys.signers.items()}
        subkeys = {f"{name}_sub": signer.signing_fingerprint for name, signer in keys.signers.items()}
        return self.reason.format(**names, **subkeys)


def table(*groups: tuple[Code, str, Mapping[str, Callable[[Keys], Files]]]) -> dict[str, Bad]:
    """Put tables of files together, each of which has one code and one message. No name may stand twice."""
    found: dict[str, Bad] = {}
    for code, reason, files in groups:
        assert not found.keys() & files.keys()
        found |= {name: Bad(code, reason, make) for name, make in files.items()}
    return found


def named(
    code: Code, say: Callable[[str], str], files: Mapping[str, tuple[str, Callable[[Keys], Files]]]
) -> dict[str, Bad]:
    """The same for files whose messages differ in one word: a key, a digest, seconds."""
    return {name: Bad(code, say(word), make) for name, (word, make) in files.items()}
