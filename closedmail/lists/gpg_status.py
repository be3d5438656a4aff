"""Judge gpg's output about a signature: status lines in, verdict out.

gpg's exit status and single status lines mislead: it exits 0 and prints VALIDSIG for revoked and expired keys, and
GOODSIG does not cover the digest, the time or who signed. So the verdict is taken from the whole output.

Source: GnuPG doc/DETAILS, "Format of the --status-fd output" and "Format of the colon listings".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from closedmail.errors import Refused
from closedmail.lists.faults import worst

# RFC 4880, 9.4
_WEAK_DIGESTS = {1: "MD5", 2: "SHA-1", 3: "RIPEMD-160"}
_DOCUMENT_CLASSES = (0, 1)
_NO_PUBLIC_KEY = 9
CLOCK_SKEW = 600

_VERDICTS = {"GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "ERRSIG"}
# Where one of these comes with a good signature, gpg met something in the file that we did not foresee.
_NEVER_WITH_A_GOOD_ONE = {"NODATA", "UNEXPECTED", "BADARMOR", "ERROR", "FAILURE", "DECRYPTION_FAILED"}


@dataclass(frozen=True, slots=True)
class KeyState:
    """One pinned primary key as the key file has it.

    `expires_at` (unix seconds, None = never) is when nothing under this key can sign any more: the latest expiry of
    its signing keys that are not revoked, at most the primary key's own. `revoked` is also true where the primary
    key stands but every signing key under it is revoked. `present` is False where the key file does not hold it.
    `created` says when it and its subkeys were made, by fingerprint.
    """

    fingerprint: str
    expires_at: int | None
    expired: bool
    revoked: bool
    present: bool
    why_missing: str = ""
    created: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ValidSig:
    """A VALIDSIG line: the signature fits the text. `key` signed, it is the primary key `primary` or a subkey of it."""

    key: str
    primary: str
    signed_at: int
    digest: int
    signature_class: int


@dataclass(frozen=True, slots=True)
class GpgStatus:
    """Everything in gpg's status output that a verdict needs.

    `verdicts` are GOODSIG, BADSIG and their like in order, `errors` the (key, reason, digest) of ERRSIG lines, where
    the key is the fingerprint of the signing (sub)key, or its ID if the signature doesn't say.
    """

    signatures: int
    texts: int
    verdicts: tuple[str, ...]
    valid: tuple[ValidSig, ...]
    errors: tuple[tuple[str, int, int], ...]
    encrypted: bool
    trouble: tuple[str, ...]


def _number(words: Sequence[str], index: int, base: int = 10) -> int:
    """Read a number of a status line; -1, which nothing accepts, if it isn't there or is none."""
    try:
        return int(words[index], base)
    except (IndexError, ValueError):
        return -1


def parse(lines: Iterable[str]) -> GpgStatus:
    """Read status lines without their `[GNUPG:] ` prefix. Unknown keywords are ignored, as DETAILS demands."""
    signatures = texts = 0
    verdicts: list[str] = []
    valid: list[ValidSig] = []
    errors: list[tuple[str, int, int]] = []
    trouble: list[str] = []
    encrypted = False
    for line in lines:
        keyword, *words = line.split() or [""]
        if keyword == "NEWSIG":
            signatures += 1
        elif keyword == "PLAINTEXT":
            texts += 1
        elif keyword == "VALIDSIG":
            # fpr, date, created, expires, version, reserved, pubkey algorithm, digest, class, primary fpr
            primary = words[9].upper() if len(words) > 9 else ""
            key = (words or [""])[0].upper()
            valid.append(ValidSig(key, primary, _number(words, 2), _number(words, 7), _number(words, 8, 16)))
        elif keyword in ("ENC_TO", "BEGIN_DECRYPTION"):
            encrypted = True
        if keyword == "ERRSIG":
            # key ID, pubkey algorithm, digest, class, created, reason, fingerprint or "-"
            key = words[6] if len(words) > 6 and words[6] != "-" else (words or [""])[0]
            errors.append((key.upper(), _number(words, 5), _number(words, 2)))
        if keyword in _VERDICTS:
            verdicts.append(keyword)
        if keyword in _NEVER_WITH_A_GOOD_ONE:
            trouble.append(line)
    return GpgStatus(
        signatures=max(signatures, len(verdicts)),
        texts=texts,
        verdicts=tuple(verdicts),
        valid=tuple(valid),
        errors=tuple(errors),
        encrypted=encrypted,
        trouble=tuple(trouble),
    )


def _wrong_signer(signer: str, missing: Mapping[str, str]) -> Refused:
    """Make the refusal; `missing` has the pinned keys that are not in the key file, with the reason if it is known."""
    if signer in missing:
        why = missing[signer]
        what = f"which is among signing_keys but not in key_file{f': {why}' if why else '; add the public key to it'}"
    else:
        what = (
            "which is not among signing_keys; if the network changed its key, verify the new fingerprint by phone, add "
            "it to signing_keys and the public key to key_file"
        )
        if missing:
            what += f" (which lacks {', '.join(missing)})"
    return Refused("wrong-signer", f"the list is signed by {signer}, {what}")


def judge(
    status: GpgStatus, exit_status: int, *, keys: Sequence[KeyState], now: int, detached: bool = False, log: str = ""
) -> ValidSig:
    """Judge a file by all that gpg reported on it.

    `keys` are the pinned keys, `now` is unix seconds, `log` is gpg's last word to people, for the message. Returns
    the one good signature, or raises the Refused that counts first.
    """
    faults: list[Refused] = []
    if status.encrypted:
        faults.append(Refused("unsigned", "the list is encrypted, not signed; ask the network's operator"))
    elif status.signatures == 0 and not status.trouble and exit_status == 0:
        faults.append(
            Refused("unsigned", "gpg finds no signature on the list; check that source names the signed list")
        )
    if status.signatures > 1:
        faults.append(
            Refused("several-signatures", "the list carries several signatures, where exactly one is accepted")
        )
    missing = {key.fingerprint: key.why_missing for key in keys if not key.present}
    for key, reason, digest in status.errors:
        if reason == _NO_PUBLIC_KEY:
            faults.append(_wrong_signer(key, missing))
        elif digest in _WEAK_DIGESTS:
            # gpg doesn't even try these: what it would have found can't be known.
            faults.append(_weak(digest))
        else:
            faults.append(_failed(log))
    if "BADSIG" in status.verdicts:
        faults.append(
            Refused(
                "bad-signature",
                "the signature does not fit the list, which was changed or damaged on the way; fetch it again, and ask "
                "the network's operator if it stays so",
            )
        )
    for found in status.valid:
        faults.extend(_judge_valid(found, status, keys, now))
    if not faults and (
        len(status.valid) != 1
        or len(status.verdicts) != 1
        or status.verdicts[0] not in ("GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG")
        or status.texts != (0 if detached else 1)
        or status.trouble
        or exit_status != 0
    ):
        faults.append(_failed(log))
    if faults:
        raise worst(faults)
    return status.valid[0]


def _weak(digest: int) -> Refused:
    return Refused(
        "weak-digest",
        f"the signature is made with {_WEAK_DIGESTS[digest]}, which can be forged; the network's operator must sign "
        "with SHA-256 or better",
    )


def _failed(log: str) -> Refused:
    said = f" ({log})" if log else ""
    return Refused("bad-signature", f"gpg could not verify the list{said}; it is probably damaged, fetch it again")


def _judge_valid(found: ValidSig, status: GpgStatus, keys: Sequence[KeyState], now: int) -> Iterable[Refused]:
    pinned = next((key for key in keys if key.fingerprint == found.primary), None)
    if pinned is None:
        yield _wrong_signer(found.primary, {})
        return
    who = f"the signing key {found.primary}" + (f" (or its subkey {found.key})" if found.key != found.primary else "")
    if found.signature_class not in _DOCUMENT_CLASSES:
        yield Refused("bad-signature", "the signature is not one over a document; ask the network's operator")
    if found.signed_at < pinned.created.get(found.key, 0):
        yield Refused(
            "bad-signature",
            f"the signature is older than its key {found.key}; the network's operator must sign the list again",
        )
    if found.digest in _WEAK_DIGESTS:
        yield _weak(found.digest)
    # For a revoked key with an expired signature gpg reports only the latter, so the key itself is checked too.
    if "REVKEYSIG" in status.verdicts or pinned.revoked:
        yield Refused(
            "revoked",
            f"{who} has been revoked; ask the network's operator for the new one, and verify its fingerprint by phone",
        )
    if "EXPSIG" in status.verdicts:
        yield Refused("expired", "the signature on the list has expired; the network's operator must sign it again")
    if "EXPKEYSIG" in status.verdicts or pinned.expired:
        yield Refused(
            "expired", f"{who} has expired; ask the network's operator for the renewed key, and update key_file"
        )
    if found.signed_at > now + CLOCK_SKEW:
        yield Refused(
            "from-the-future",
            f"the list is signed {found.signed_at - now} seconds ahead of this machine's clock; check the clock here, "
            "then ask the network's operator to check theirs",
        )


@dataclass(slots=True)
class _Record:
    """A primary key or a subkey in a listing."""

    validity: str
    created: int
    expiry: int | None
    capabilities: str
    fingerprint: str = ""


def imported_any(lines: Iterable[str]) -> bool:
    """Check the status lines of `gpg --import`: did it take any key of the file?"""
    # IMPORT_RES, keys, those without a user ID, imported
    return any(_number(line.split(), 3) > 0 for line in lines if line.startswith("IMPORT_RES "))


def key_states(listing: str, fingerprints: Sequence[str], now: int, why_missing: str = "") -> tuple[KeyState, ...]:
    """Read `gpg --with-colons --list-keys`, one KeyState for each of `fingerprints`, in their order.

    `why_missing` is what those that are not listed get.
    """
    blocks: list[list[_Record]] = []  # primary first
    for line in listing.splitlines():
        fields = line.split(":") + [""] * 20
        if fields[0] == "pub":
            blocks.append([])
        if fields[0] in ("pub", "sub") and blocks:
            expiry = int(fields[6]) if fields[6].isdigit() else None
            blocks[-1].append(_Record(fields[1], _number(fields, 5), expiry, fields[11]))
        elif fields[0] == "fpr" and blocks and not blocks[-1][-1].fingerprint:
            blocks[-1][-1].fingerprint = fields[9].upper()
    found = {block[0].fingerprint: block for block in blocks}
    return tuple(
        _key_state(found[fingerprint], now)
        if fingerprint in found
        else KeyState(
            fingerprint, expires_at=None, expired=False, revoked=False, present=False, why_missing=why_missing
        )
        for fingerprint in fingerprints
    )


def _key_state(block: Sequence[_Record], now: int) -> KeyState:
    # Lower-case letters are what the key itself can do, upper-case ones (of the primary) what the whole can.
    signing = [record for record in block if "s" in record.capabilities]
    usable = [record for record in signing if record.validity not in ("r", "i", "d", "n")]
    limits = [record.expiry for record in usable]
    own = block[0].expiry
    latest = None if not limits or None in limits else max(expiry for expiry in limits if expiry is not None)
    bounds = [expiry for expiry in (own, latest) if expiry is not None]
    expires_at = min(bounds) if bounds else None
    return KeyState(
        block[0].fingerprint,
        expires_at=expires_at,
        expired=expires_at is not None and expires_at <= now,
        revoked=block[0].validity == "r" or (bool(signing) and all(record.validity == "r" for record in signing)),
        present=True,
        created={record.fingerprint: record.created for record in block},
    )
