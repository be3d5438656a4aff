"""What policyd tells Prometheus. Imported only where `metrics_listen` is set: prometheus_client is optional."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from closedmail.errors import StoreError
from closedmail.inbound.counters import Counters
from closedmail.policyd.policy_connection import PolicyConnections
from closedmail.store.snapshot import StoreReader

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHERS = "(other)"  # partners beyond MOST_NAMED; no domain has brackets

# Of the time, at most a tenth goes into making pages: one that took long is given again for nine times as long. What
# takes less than this many seconds is made every time.
_SHORT, _PAUSE = 0.05, 9


@dataclass(frozen=True, slots=True)
class Sample(Collector):
    """All numbers at one moment. `generation` and `published_at` are 0 while no generation can be read."""

    generation: int
    published_at: int
    counters: Counters
    plain: Iterable[tuple[str, str, int]]
    connections: int

    def collect(self) -> Iterator[Metric]:
        """The numbers as prometheus_client takes them."""
        yield GaugeMetricFamily("closedmail_generation", "Generation in force, 0 for none.", self.generation)
        if self.generation:
            name = "closedmail_generation_published_timestamp_seconds"
            yield GaugeMetricFamily(name, "When it was published, in Unix time.", self.published_at)
        yield GaugeMetricFamily("closedmail_policyd_open_connections", "Connections of smtpd.", self.connections)
        for name, what, number in self.plain:
            yield CounterMetricFamily(f"closedmail_policyd_{name}", what, number)
        verdicts = CounterMetricFamily(
            "closedmail_policyd_verdicts",
            "Mails in a partner's name, each counted once for a verdict; kept across restarts.",
            labels=("network", "partner", "verdict", "reason"),
        )
        for series, number in self.counters:
            verdicts.add_metric(series._replace(partner=series.partner or OTHERS), number)
        yield verdicts


class Metrics:
    """Makes the page. Looking happens on the event loop, writing it down in a thread: a large page takes its time."""

    def __init__(self, store: StoreReader, connections: PolicyConnections) -> None:
        """Nothing is made yet."""
        self._store, self._connections = store, connections
        self._one = asyncio.Lock()
        self._page, self._good_until = b"", 0.0

    async def page(self) -> bytes:
        """The page, one maker at a time."""
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
            pass  # the next request that is about mail tells of it
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
    registry = CollectorRegistry(auto_describe=False)
    registry.register(sample)
    return generate_latest(registry)
