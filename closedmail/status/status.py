"""Find what is in force, how old it is, and what is wrong: one state for monitoring, and sentences for people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from closedmail.config.readable import find_unreadable
from closedmail.core.model import Config, Network
from closedmail.errors import StoreError
from closedmail.inbound.digests import incomparable
from closedmail.inbound.header_decision import unenforceable_headers
from closedmail.lists.fetch_log import FetchRecord, read_log
from closedmail.lists.gpg_status import CLOCK_SKEW, KeyState
from closedmail.lists.obtain import signed_ahead
from closedmail.maps.linger_times import longest_linger
from closedmail.maps.own_rows_file import read_own_rows
from closedmail.mta.recipient_guard import guard_sentence, read_lacks_guard
from closedmail.status.daemon_check import impostors
from closedmail.status.list_state import judge_age, judge_keys
from closedmail.status.map_check import map_problems
from closedmail.status.problems import Problem, Problems, State, worst
from closedmail.status.traffic import Traffic, find_traffic
from closedmail.store.environment import store_path
from closedmail.store.manifest import Details, ListInForce, Manifest
from closedmail.store.snapshot import Snapshot, StoreReader
from closedmail.sync.rules import is_set_aside, set_aside_sentence
from closedmail.sync.sync_report import NOBODY_SIGNS
from closedmail.words import counted, iso, iso_or_none

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
    for sentence in impostors(config):
        general.alarm("impostor", sentence)
    # Root asks as the owner of the state directory. For others, what they have read can be read.
    if unreadable := find_unreadable(Path(config.path)):
        general.alarm("configuration", f"{unreadable.sentence}; {unreadable.advice}")
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
            judge_times(general, config, snapshot.manifest, now)
            if config.postfix:
                for sentence in read_own_rows(Path(config.gateway.state_dir)).row_sentences():
                    general.warn("own-rows", f"{sentence} (as of the last sync)")
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
    newest = max(record.newest_signed_at, in_force.newest_signed_at if in_force else 0)
    if newest > now + CLOCK_SKEW:
        found.warn("signing-time", signed_ahead(newest, config.command("sync", "--network", network.name)))
    source = network.source
    status.fetch_max_age = source.fetch_max_age
    judge_age(found, config, source, in_force, record, now)
    if source.signature == "none":
        found.warn("unsigned", NOBODY_SIGNS)
        return status
    status.max_age = source.max_age
    status.keys = judge_keys(found, source, in_force.signer if in_force else "", now)
    return status


def judge_times(found: Problems, config: Config, manifest: Manifest, now: int) -> None:
    """Judge the times of the generation in force: those ahead of the clock count for nothing, once it is right."""
    ahead = manifest.times_after(now + CLOCK_SKEW, longest_linger(config.postfix))
    if ahead:
        found.warn(
            "clock",
            f"generation {manifest.generation} has times ahead of this machine's clock, up to {iso(max(ahead))}: check "
            "the clock; if it was wrong then and is right now, holds and TLS rows begin anew with: "
            f"{config.command('sync', '--force')}",
        )


def _judge_held(found: Problems, held: Sequence[str]) -> None:
    if held:
        more = ", …" if len(held) > _NAMED else ""
        are = "is" if len(held) == 1 else "are"
        found.warn("held", f"{counted(len(held), 'domain')} {are} held: {', '.join(held[:_NAMED])}{more}")
