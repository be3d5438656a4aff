"""Obtain one network's list: fetched, verified and not older than what was accepted before; unchanged; or refused."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from closedmail.core.model import Network, Source
from closedmail.errors import ConfigError, Refused
from closedmail.lists import fetch, openpgp
from closedmail.lists.fetch import Progress, Validators
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


def obtain(
    source: Source,
    in_force: ListInForce | None,
    record: FetchRecord,
    work: Path,
    now: int,
    progress: Progress | None = None,
) -> Obtained | None:
    """Fetch and verify a network's list into the folder `work`; None where it is what is in force.

    `in_force` is None where nothing may be taken as unchanged. Updates `record` with the transfer's success. Raises
    Refused.
    """
    previous, previous_signature = (
        record.previous(source, in_force.raw_digest) if in_force else (Validators(), Validators())
    )
    raw, signature = work / "raw", work / "signature"
    detached = source.signature if source.signature not in ("inline", "none") else ""

    def bring(location: str, place: Path, known: Validators) -> fetch.Fetched:
        return fetch.fetch(
            location,
            place,
            max_size=source.max_size,
            previous=known,
            ca_file=source.ca_file,
            client_cert=source.client_cert,
            client_key=source.client_key,
            progress=progress,
        )

    fetched = bring(source.location, raw, previous)
    signed = bring(detached, signature, previous_signature) if detached else fetched
    if detached and (fetched.path is None) != (signed.path is None):
        # Only one of the two is new: they are judged together, so that the other one is needed as well.
        fetched, signed = bring(source.location, raw, Validators()), bring(detached, signature, Validators())
    record.fetched_at = now
    if fetched.path is None:
        return None
    raw_digest = file_digest(raw) + (file_digest(signature) if detached else "")
    if in_force and raw_digest == in_force.raw_digest:
        record.keep(source, raw_digest, fetched.validators, signed.validators if detached else Validators())
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
            detached=signature if detached else None,
        )
        text, signer, signed_at = verified.text, verified.signer, verified.signed_at
    return Obtained(
        text,
        raw_digest,
        signer,
        signed_at,
        fetched.validators,
        signed.validators if detached else Validators(),
    )


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
