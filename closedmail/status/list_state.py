"""Judge the lists: how long ago each was fetched and signed, and the keys that may sign it."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail.core.model import Config, Source
from closedmail.errors import Refused
from closedmail.lists.fetch_log import FetchRecord
from closedmail.lists.gpg_status import CLOCK_SKEW, KeyState
from closedmail.lists.openpgp import key_states
from closedmail.status.problems import Problems
from closedmail.store.manifest import ListInForce
from closedmail.words import iso

_DAY = 86400
KEY_WARNING = 30 * _DAY  # seconds before a key expires


def judge_age(
    found: Problems, config: Config, source: Source, in_force: ListInForce | None, record: FetchRecord, now: int
) -> None:
    """Judge how long ago a list was fetched, and signed."""
    if not record.fetched_at:
        found.alarm("never-fetched", f"the list was never fetched; run: {config.command('sync')}")
    elif record.fetched_at > now + CLOCK_SKEW:
        found.warn(
            "fetch-clock",
            f"the last fetch was {iso(record.fetched_at)}, ahead of this machine's clock: check the clock",
        )
    elif now - record.fetched_at > source.fetch_max_age:
        found.alarm(
            "fetch-age",
            f"no successful fetch since {iso(record.fetched_at)} (fetch_max_age); see {config.command('sync')}",
        )
    if source.signature == "none":
        return
    if source.max_age is not None and in_force and in_force.signed_at and now - in_force.signed_at > source.max_age:
        found.warn(
            "signature-age", f"the list was signed {iso(in_force.signed_at)}, longer ago than max_age; ask the network"
        )


def judge_keys(found: Problems, source: Source, signer: str, now: int) -> Sequence[KeyState]:
    """Judge the pinned keys of a list that is signed, and return them; `signer` signed what is in force."""
    keys: Sequence[KeyState] = ()
    try:
        with TemporaryDirectory(prefix="closedmail-") as work:
            keys = key_states(Path(source.key_file), source.signing_keys, Path(work), now)
        _judge_states(found, keys, signer, now)
    except Refused as refusal:
        found.warn("keys", f"the pinned keys can't be checked: {refusal.reason}")
    return keys


def _judge_states(found: Problems, keys: Sequence[KeyState], signer: str, now: int) -> None:
    """Judge pinned keys: of several, one that has expired is a matter of tidiness; without a usable one, all stops."""
    usable = usable_keys(keys)
    for key in keys:
        what = "is not in key_file" if not key.present else "is revoked" if key.revoked else "has expired"
        if key not in usable:
            advice = key.why_missing or "get the network's new key, verify its fingerprint and pin it"
            if usable and key.fingerprint != signer:
                found.warn("key-unusable", f"key {key.fingerprint} {what}: take it out of signing_keys")
            else:
                found.alarm("key-unusable", f"key {key.fingerprint} {what}: {advice}")
        elif key.expires_at is not None and key.expires_at - now < KEY_WARNING:
            days = max(0, key.expires_at - now) // _DAY
            found.warn(
                "key-expires",
                f"key {key.fingerprint} expires in {days} days: ask the network for its next one and pin both",
            )


def usable_keys(keys: Sequence[KeyState]) -> list[KeyState]:
    """Return the keys that can sign at this moment."""
    return [key for key in keys if key.present and not key.expired and not key.revoked]
