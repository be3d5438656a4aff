"""Make the page of `metrics_listen`: policyd's numbers in Prometheus' text format."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from closedmail.daemon.exposition import Family, exposition
from closedmail.errors import StoreError
from closedmail.inbound.counters import Counters
from closedmail.policyd.policy_connection import PolicyConnections
from closedmail.store.snapshot import StoreReader

OTHERS = "(other)"  # partners beyond MOST_NAMED; no domain has brackets

# Of the time, at most a tenth goes into making pages: one that took long is served again for nine times as long. A page
# that takes less than this many seconds is made every time.
_SHORT, _PAUSE = 0.05, 9


@dataclass(frozen=True, slots=True)
class Sample:
    """All numbers at one moment. `generation` and `published_at` are 0 while no generation can be read."""

    generation: int
    published_at: int
    counters: Counters
    plain: Iterable[tuple[str, str, int]]
    connections: int

    def families(self) -> Iterator[Family]:
        """Yield the numbers as metrics."""
        yield _gauge("closedmail_generation", "Generation in force, 0 for none.", self.generation)
        if self.generation:
            name = "closedmail_generation_published_timestamp_seconds"
            yield _gauge(name, "When it was published, in Unix time.", self.published_at)
        yield _gauge("closedmail_policyd_open_connections", "Connections of smtpd.", self.connections)
        for name, what, number in self.plain:
            family = Family(f"closedmail_policyd_{name}_total", "counter", what)
            family.add(number)
            yield family
        verdicts = Family(
            "closedmail_policyd_verdicts_total",
            "counter",
            "Mails in a partner's name, each counted once for a verdict; kept across restarts.",
        )
        for (network, partner, verdict, reason), number in self.counters:
            verdicts.add(number, network=network, partner=partner or OTHERS, verdict=verdict, reason=reason)
        yield verdicts


class Metrics:
    """The maker of the page.

    Numbers are read on the event loop, and written in a thread: a large page takes its time.
    """

    def __init__(self, store: StoreReader, connections: PolicyConnections) -> None:
        """Begin without a page."""
        self._store, self._connections = store, connections
        self._one = asyncio.Lock()
        self._page, self._good_until = b"", 0.0

    async def page(self) -> bytes:
        """Make the page, one at a time."""
        clock = asyncio.get_running_loop().time
        async with self._one:
            began = clock()
            if began >= self._good_until:
                self._page = await asyncio.to_thread(_write, self._look())
                took = clock() - began
                self._good_until = clock() + (_PAUSE * took if took > _SHORT else 0)
        return self._page

    def _look(self) -> Sample:
        generation = published_at = 0
        try:
            snapshot = self._store.current()
            generation, published_at = snapshot.generation, snapshot.manifest.published_at
        except StoreError:
            pass  # the next request about mail logs it
        connections, service = self._connections, self._connections.service
        plain = (
            ("requests", "Requests, answered or not.", service.requests),
            ("store_errors", "Requests while no generation could be read.", service.store_errors),
            ("protocol_errors", "Connections closed for what was no request.", connections.errors),
            ("connections", "Connections accepted.", connections.accepted),
            ("incomparable_certificates", "Requests with a fingerprint of another length.", service.digests.count),
        )
        return Sample(generation, published_at, service.counters.copy(), plain, len(connections.open))


def _write(sample: Sample) -> bytes:
    return exposition(sample.families()).encode()


def _gauge(name: str, what: str, number: int) -> Family:
    family = Family(name, "gauge", what)
    family.add(number)
    return family
