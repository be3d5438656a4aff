"""Obtain one network's list: fetched, verified and not older than what was accepted before; unchanged; or refused."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from closedmail.core.model import Network, Source
from closedmail.errors import ConfigError, Refused
from closedmail.lists import openpgp
from closedmail.lists.fetch import Fetched, Validators, fetch
from closedmail.lists.fetch_log import FetchRecord
from closedmail.lists.gpg_status import CLOCK_SKEW
from closedmail.store.manifest import ListInForce
from closedmail.words import iso

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Obtained:
    """A list that may be used: where its text is, who signed it and when (0 and "" where nobody did)."""

    text: Path
    raw_digest: str
    signer: str
    signed_at: int
    validators: Validators
    signature_validators: Validators


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transfer gave: the list, and its detached signature (None where it has none)."""

    fetched: Fetched
    detached: Fetched | None = None


def key_file_digest(network: Network) -> str:
    """Digest the pinned key file's contents, "" where the network has none. Raises ConfigError."""
    source = network.source
    if source is None or source.signature == "none":
        return ""
    try:
        return file_digest(Path(source.key_file))
    except OSError as error:
        raise ConfigError(
            f"network.{network.name}.key_file", f"{source.key_file}: {error.strerror}; put the network's key there"
        ) from None


def transfer(source: Source, in_force: ListInForce | None, record: FetchRecord, work: Path) -> Transferred:
    """Fetch a network's list, and its detached signature, into the folder `work`.

    `in_force` is None where nothing may be taken as unchanged. Only waits, and touches nothing but that folder, so that
    several may run side by side. Raises Refused.
    """
    previous, previous_signature = (
        record.previous(source, in_force.raw_digest) if in_force else (Validators(), Validators())
    )
    raw, signature = work / "raw", work / "signature"

    def bring(location: str, place: Path, known: Validators) -> Fetched:
        return fetch(
            location,
            place,
            max_size=source.max_size,
            previous=known,
            ca_file=source.ca_file,
            client_cert=source.client_cert,
            client_key=source.client_key,
        )

    fetched = bring(source.location, raw, previous)
    if source.signature in ("inline", "none"):
        return Transferred(fetched)
    detached = bring(source.signature, signature, previous_signature)
    if (fetched.path is None) != (detached.path is None):
        # Only one of the two is new: they are judged together, so that the other one is needed as well.
        fetched, detached = bring(source.location, raw, Validators()), bring(source.signature, signature, Validators())
    return Transferred(fetched, detached)


def obtain(
    transferred: Transferred, source: Source, in_force: ListInForce | None, record: FetchRecord, work: Path, now: int
) -> Obtained | None:
    """Verify a network's list that was fetched into the folder `work`; None where it is what is in force.

    `in_force` is None where nothing may be taken as unchanged. Updates `record` with the transfer's success. Raises
    Refused.
    """
    raw, detached = transferred.fetched.path, transferred.detached
    record.fetched_at = now
    if raw is None:
        return None
    signature = detached.path if detached else None
    raw_digest = file_digest(raw) + (file_digest(signature) if signature else "")
    validators = transferred.fetched.validators
    signature_validators = detached.validators if detached else Validators()
    if in_force and raw_digest == in_force.raw_digest:
        record.keep(source, raw_digest, validators, signature_validators)
        return None
    text, signer, signed_at = raw, "", 0
    if source.signature != "none":
        verified = openpgp.verify(
            raw,
            work,
            key_file=Path(source.key_file),
            signing_keys=source.signing_keys,
            max_size=source.max_size,
            now=now,
            detached=signature,
        )
        text, signer, signed_at = verified.text, verified.signer, verified.signed_at
    return Obtained(text, raw_digest, signer, signed_at, validators, signature_validators)


def check_replay(name: str, signed_at: int, newest_signed_at: int, now: int, sync: str) -> None:
    """Raise Refused(replayed) for a list signed before the newest one ever accepted; equal is no replay.

    `sync` is the command that syncs this network alone.
    """
    if signed_at and signed_at < newest_signed_at:
        if newest_signed_at > now + CLOCK_SKEW:
            raise Refused(
                "replayed", f"the list of {name} is older than another one: {signed_ahead(newest_signed_at, sync)}"
            )
        raise Refused(
            "replayed",
            f"the list of {name} was signed {newest_signed_at - signed_at} seconds before the newest one that was "
            "accepted: somebody serves an old list; ask the network for the current one",
        )


def signed_ahead(newest_signed_at: int, sync: str) -> str:
    """Say that the newest accepted list was signed in the future, and how to go back; `sync` is as above."""
    return (
        f"the newest list that was accepted was signed {iso(newest_signed_at)}, ahead of this machine's clock, and all "
        f"older ones are refused as replayed; check the clock; if it is right now, forget that time with: {sync} "
        "--forget-signing-time"
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
