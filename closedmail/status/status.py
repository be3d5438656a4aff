"""Find what is in force, how old it is, and what is wrong: one state for monitoring, and sentences for people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from closedmail.core.model import Config, Network, Source
from closedmail.errors import Refused, StoreError
from closedmail.inbound.digests import incomparable
from closedmail.inbound.header_decision import unenforceable_headers
from closedmail.lists.fetch_log import FetchRecord, read_log
from closedmail.lists.gpg_status import CLOCK_SKEW, KeyState
from closedmail.lists.openpgp import key_states
from closedmail.mta.recipient_guard import guard_sentence, read_lacks_guard
from closedmail.status.map_check import map_problems
from closedmail.status.problems import Problem, Problems, State, worst
from closedmail.status.traffic import Traffic, find_traffic
from closedmail.store.environment import store_path
from closedmail.store.manifest import Details, ListInForce
from closedmail.store.snapshot import Snapshot, StoreReader
from closedmail.sync.rules import is_set_aside, set_aside_sentence
from closedmail.sync.sync_report import NOBODY_SIGNS
from closedmail.words import counted, iso, iso_or_none

_DAY = 86400
KEY_WARNING = 30 * _DAY  # seconds before a key expires
_NAMED = 5


@dataclass(slots=True)
class NetworkStatus:
    """One network. Times are Unix seconds, 0 for never; `age` is that of the signature, or of the fetch without one.

    `refused` is the code for which the last sync refused the list. `max_age` and `fetch_max_age` are the limits in
    seconds, None where none applies. `keys` are the pinned ones.
    """

    domains: int = 0
    signed_at: int = 0
    fetched_at: int = 0
    age: int | None = None
    held: Sequence[str] = ()
    refused: str = ""
    max_age: int | None = None
    fetch_max_age: int | None = None
    keys: Sequence[KeyState] = ()
    found: Problems = field(default_factory=Problems)

    def to_json(self) -> dict[str, Any]:
        """Make the object of the public interface."""
        return {
            "domains": self.domains,
            "signed_at": iso_or_none(self.signed_at),
            "fetched_at": iso_or_none(self.fetched_at),
            "age_seconds": self.age,
            "held": list(self.held),
            "state": self.found.state,
            "problems": self.found.sentences,
        }


@dataclass(slots=True)
class Status:
    """The gateway. `general` and `held` concern no single network, `state` and `problems` everything."""

    generation: int | None = None
    published_at: int = 0
    held: Sequence[str] = ()
    networks: dict[str, NetworkStatus] = field(default_factory=dict)
    traffic: Traffic | None = None
    general: Problems = field(default_factory=Problems)

    @property
    def found(self) -> list[Problem]:
        """All problems: those of no single network, then each network's."""
        return [*self.general, *(problem for network in self.networks.values() for problem in network.found)]

    @property
    def state(self) -> State:
        """The worst state of all."""
        return worst(self.found)

    @property
    def problems(self) -> list[str]:
        """All problems, a network's with its name in front."""
        return [str(problem) for problem in self.found]

    def to_json(self) -> dict[str, Any]:
        """Make the object of the public interface."""
        return {
            "state": self.state,
            "generation": self.generation,
            "problems": self.problems,
            "networks": {name: network.to_json() for name, network in self.networks.items()},
            "counters": self.traffic.to_json() if self.traffic else None,
        }

    def lines(self) -> Iterator[str]:
        """Render the status for people."""
        in_force = f"generation {self.generation} of {iso(self.published_at)}" if self.generation else "no generation"
        yield f"{self.state}: {in_force} is in force"
        for name, network in self.networks.items():
            signed = f", signed {iso(network.signed_at)}" if network.signed_at else ""
            fetched = f", fetched {iso(network.fetched_at)}" if network.fetched_at else ""
            yield f"{name}: {network.found.state}: {counted(network.domains, 'domain')}{signed}{fetched}"
        if self.traffic:
            yield from self.traffic.lines()
        yield from (f"problem: {problem}" for problem in self.problems)


def find_status(config: Config, now: int) -> Status:
    """Inspect the store, the fetch log and the keys. `now` is Unix time. Problems are reported, and raise nothing."""
    status = Status(traffic=find_traffic(Path(config.gateway.state_dir)))
    general, log = status.general, read_log(Path(config.gateway.state_dir))
    with StoreReader(store_path(config.gateway.state_dir), config.command()) as store:
        snapshot: Snapshot | None = None
        try:
            for sentence in map_problems(config, store):
                general.alarm("maps", sentence)
            if read_lacks_guard(config):
                general.warn("recipient-spellings", guard_sentence(config))
            snapshot = store.current()
            status.generation, status.published_at = snapshot.generation, snapshot.manifest.published_at
            status.held = snapshot.details("").held
            _judge_held(general, status.held)
            if is_set_aside(config, snapshot.manifest):
                general.warn("set-aside", set_aside_sentence(config, snapshot.manifest))
            for sentence in incomparable(
                snapshot.manifest.rules, snapshot.manifest.fingerprint_digest, config.command("sync")
            ):
                general.warn("fingerprints", sentence)
            only_sendmail = config.sendmail is not None and config.postfix is None
            for sentence in unenforceable_headers(snapshot.manifest.rules, sendmail=only_sendmail):
                general.warn("header-from", sentence)
        except StoreError as error:
            general.alarm("store", str(error))
        in_force = {item.name: item for item in snapshot.manifest.lists} if snapshot else {}
        for network in config.networks:
            details = snapshot.details(network.name) if snapshot else Details()
            record = log.get(network.name, FetchRecord())
            status.networks[network.name] = _network_status(
                config, network, in_force.get(network.name), details, record, now
            )
    return status


def _network_status(
    config: Config, network: Network, in_force: ListInForce | None, details: Details, record: FetchRecord, now: int
) -> NetworkStatus:
    found = Problems(network.name)
    status = NetworkStatus(fetched_at=record.fetched_at, held=details.held, found=found)
    if in_force:
        status.domains, status.signed_at = in_force.domains, in_force.signed_at
        since = in_force.signed_at or record.fetched_at
        status.age = max(0, now - since) if since else None
    _judge_held(found, details.held)
    if record.result == "refused":
        status.refused = record.code or "refused"
        found.warn("refused", f"the last sync was refused ({record.code}): {record.reason}")
    if network.source is None:
        return status
    source = network.source
    status.fetch_max_age = source.fetch_max_age
    judge_age(found, config, source, in_force, record, now)
    if source.signature == "none":
        found.warn("unsigned", NOBODY_SIGNS)
        return status
    status.max_age = source.max_age
    status.keys = judge_keys(found, source, in_force.signer if in_force else "", now)
    return status


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


def _judge_held(found: Problems, held: Sequence[str]) -> None:
    if held:
        more = ", …" if len(held) > _NAMED else ""
        are = "is" if len(held) == 1 else "are"
        found.warn("held", f"{counted(len(held), 'domain')} {are} held: {', '.join(held[:_NAMED])}{more}")


def _judge_states(found: Problems, keys: Sequence[KeyState], signer: str, now: int) -> None:
    """Judge pinned keys: of several, one that has expired is a matter of tidiness; without a usable one, all stops."""
    usable = usable_keys(keys)
    for key in keys:
        what = "is not in key_file" if not key.present else "is revoked" if key.revoked else "has expired"
        if key not in usable:
            advice = "get the network's new key, verify its fingerprint and pin it"
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
