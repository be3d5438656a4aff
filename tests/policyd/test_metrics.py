"""`metrics_listen`: what Prometheus reads there, and what peers on that port can't do to decisions about mail."""

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.daemon import Daemon, closedmail, connect
from support.gateway import LIST, Gateway, make_gateway

from closedmail.daemon.counters_file import POLICYD
from closedmail.demo.ports import free_port
from closedmail.policyd import metrics_http
from closedmail.policyd.metrics_http import MetricsConnection, MetricsConnections

RIGHT, WRONG = "192.0.2.1", "192.0.2.9"
ANY_PORT = 'metrics_listen = "inet:127.0.0.1:0"'
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def own(tmp_path: Path) -> Gateway:
    return make_gateway(tmp_path, policyd=ANY_PORT)


@pytest.fixture
def daemon(own: Gateway) -> Iterator[Daemon]:
    with Daemon(own.config) as daemon:
        yield daemon


def metrics_where(daemon: Daemon, times: int = 1) -> str:
    """Where metrics are served, as the log says for the nth time."""
    return daemon.wait_for(r"^metrics are served on (inet:\S+)$", times)[1]


def scrape(where: str) -> Samples:
    """All samples by name and label values, in the order of the log's words."""
    with urlopen(f"http://{where.removeprefix('inet:')}/metrics", timeout=15) as page:
        assert page.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = page.read().decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    labels = ("network", "partner", "verdict", "reason")
    return {
        (sample.name, *(sample.labels[label] for label in labels if label in sample.labels)): sample.value
        for family in families
        for sample in family.samples
    }


def exchange(where: str, data: bytes) -> bytes:
    """All that comes back for these bytes."""
    with connect(where) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) [\w ]+\r\n", answer)
    assert found, answer
    return int(found[1])


# The page


def test_the_whole_page(own: Gateway, daemon: Daemon) -> None:
    with daemon.client() as client:
        for instance in ("a", "a", "b"):
            client.ask(sender="u@koeln.example", client_address=WRONG, instance=instance)
        client.ask(sender="u@a.land.example", client_address=RIGHT, instance="c")
        client.ask(sender="u@alone.example", client_address=WRONG, instance="d")
        client.ask(sender="u@tls.example", client_address=RIGHT, instance="e")
        client.ask(sender="u@stranger.example", client_address=WRONG, instance="f")
        short = ":".join(["AB"] * 16)
        client.ask(sender="u@cert.example", client_address=RIGHT, ccert_fingerprint=short, instance="g")
        with daemon.client() as broken:
            broken.send(b"nonsense\n\n")
            assert broken.action() is None
        samples = scrape(metrics_where(daemon))
    daemon.wait_for(r'^warning: partner\."cert\.example"\.inbound\.certificates: the MTA sends MD5 fingerprints')
    name = "closedmail_policyd_"
    published = samples.pop(("closedmail_generation_published_timestamp_seconds",))
    assert published > 1.6e9
    assert samples == {
        ("closedmail_generation",): 1,
        (name + "open_connections",): 1,
        (name + "connections_total",): 2,
        (name + "requests_total",): 8,
        (name + "protocol_errors_total",): 1,
        (name + "store_errors_total",): 0,
        (name + "incomparable_certificates_total",): 1,
        (name + "verdicts_total", "ndb", "koeln.example", "reject", "address"): 2,
        (name + "verdicts_total", "ndb", ".land.example", "accept", "ok"): 1,
        (name + "verdicts_total", "ndb", "tls.example", "reject", "tls"): 1,
        (name + "verdicts_total", "ndb", "cert.example", "reject", "certificate"): 1,
        (name + "verdicts_total", "-", "alone.example", "reject", "address"): 1,
    }


def test_generations_and_a_store_that_cannot_be_read(own: Gateway, daemon: Daemon) -> None:
    where = metrics_where(daemon)
    first = scrape(where)
    own.write_list([*LIST, "new.example esmtp:[192.0.2.30]"])
    own.sync(now=2_000_000_000)
    second = scrape(where)  # without any mail between
    assert (first["closedmail_generation",], second["closedmail_generation",]) == (1, 2)
    assert second["closedmail_generation_published_timestamp_seconds",] == 2_000_000_000
    own.store.rename(own.folder / "away")
    assert daemon.ask(sender="u@koeln.example", client_address=WRONG) is None
    third = scrape(where)
    assert (third["closedmail_generation",], third["closedmail_policyd_store_errors_total",]) == (0, 1)
    assert ("closedmail_generation_published_timestamp_seconds",) not in third


def test_verdicts_are_counted_on_after_a_restart(own: Gateway) -> None:
    """So that a counter's fall is no restart's."""
    series = ("closedmail_policyd_verdicts_total", "ndb", "koeln.example", "reject", "address")
    for number in (1.0, 2.0):
        with Daemon(own.config) as daemon:
            daemon.ask(sender="u@koeln.example", client_address=WRONG)
            assert scrape(metrics_where(daemon))[series] == number
            assert daemon.stop() == 0


def test_the_others_have_no_name(own: Gateway) -> None:
    """Of more partners than the bound, every mail is still counted."""
    rows = [f'["ndb", "p{number}.example", "reject", "address", 1]' for number in range(40_000)]
    (own.state_dir / POLICYD).parent.mkdir()
    (own.state_dir / POLICYD).write_text(f'{{"since": 1, "saved_at": 2, "counts": [{",".join(rows)}]}}')
    with Daemon(own.config) as daemon:
        samples = scrape(metrics_where(daemon))
        verdicts = {key: value for key, value in samples.items() if key[0] == "closedmail_policyd_verdicts_total"}
        assert len(verdicts) == 24_576 + 1
        assert verdicts["closedmail_policyd_verdicts_total", "ndb", "(other)", "reject", "address"] == 40_000 - 24_576
        assert daemon.memory() < 100 << 20


# The configuration


def test_sighup_takes_over_where_metrics_are(own: Gateway) -> None:
    own.configure()
    port = free_port()
    with Daemon(own.config) as daemon, daemon.client() as client:
        own.configure(policyd=f'metrics_listen = "inet:127.0.0.1:{port}"')
        daemon.reload()
        assert metrics_where(daemon) == f"inet:127.0.0.1:{port}"
        with connect(metrics_where(daemon)) as waiting:
            own.configure(policyd='metrics_listen = "inet:[::1]:0"')
            daemon.reload()
            other = metrics_where(daemon, 2)
            assert other.startswith("inet:[::1]:")
            waiting.sendall(GET)  # who was there already is still answered
            assert waiting.recv(15).startswith(b"HTTP/1.1 200 ")
        assert scrape(other)["closedmail_generation",] == 1
        with pytest.raises(OSError, match="refused"):
            connect(f"inet:127.0.0.1:{port}")
        own.configure()
        daemon.reload()
        daemon.wait_for("^metrics are served no more$")
        with pytest.raises(OSError, match="refused"):
            connect(other)
        assert client.ask(sender="u@koeln.example", client_address=RIGHT) == "DUNNO"


def test_a_taken_port(own: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own.configure(policyd=f'metrics_listen = "inet:127.0.0.1:{port}"')
        said = closedmail("policyd", config=own.config)
        assert (said.status, said.error) == (1, f"can't listen on 127.0.0.1:{port}: Address already in use")
        assert not own.socket.exists()


def test_prometheus_client_is_not_asked(own: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is ours: no other package has to be there for it."""
    (own.folder / "prometheus_client.py").write_text('raise ImportError("not here")')
    monkeypatch.setenv("PYTHONPATH", str(own.folder))
    with Daemon(own.config) as daemon:
        assert scrape(metrics_where(daemon))["closedmail_generation",] == 1


# Hostile peers

ANSWERS = {
    "a scrape": (GET, 200),
    "HTTP/1.0": (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
    "bare newlines": (b"GET /metrics HTTP/1.1\n\n", 200),
    "a query": (b"GET /metrics?name[]=x HTTP/1.1\r\n\r\n", 200),
    "HEAD": (b"HEAD /metrics HTTP/1.1\r\n\r\n", 200),
    "another page": (b"GET / HTTP/1.1\r\n\r\n", 404),
    "a longer name": (b"GET /metricsx HTTP/1.1\r\n\r\n", 404),
    "a way round": (b"GET /x/../metrics HTTP/1.1\r\n\r\n", 404),
    "POST": (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
    "a whole URL": (b"GET http://x/metrics HTTP/1.1\r\n\r\n", 400),
    "a policy request": (b"request=smtpd_access_policy\nsender=u@koeln.example\n\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x00\xf4\x01\r\n\r\n", 400),
    "nothing": (b"\r\n\r\n", 400),
    "the longest head": (GET[:-4] + b"\r\nX: " + b"x" * (8192 - len(GET) - 5) + b"\r\n\r\n", 200),
    "one byte more": (GET[:-4] + b"\r\nX: " + b"x" * (8192 - len(GET) - 4) + b"\r\n\r\n", 431),
    "a head without end": (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 8192, 431),
}


@pytest.mark.parametrize(("data", "status"), ANSWERS.values(), ids=ANSWERS.keys())
def test_answers(shared: str, data: bytes, status: int) -> None:
    answer = exchange(shared, data)
    assert status_of(answer) == status
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    size = re.search(rb"Content-Length: (\d+)", head)
    assert size
    assert len(body) == (0 if data.startswith(b"HEAD") else int(size[1]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where one daemon for several tests serves metrics."""
    gateway = make_gateway(tmp_path_factory.mktemp("gateway"), policyd=ANY_PORT)
    with Daemon(gateway.config) as daemon:
        yield metrics_where(daemon)


def test_a_request_byte_by_byte_and_a_half_closed_one(shared: str) -> None:
    with connect(shared) as connection:
        for byte in GET:
            connection.sendall(bytes([byte]))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(15).startswith(b"HTTP/1.1 200 ")


def test_one_answer_a_connection(shared: str) -> None:
    assert exchange(shared, GET * 3).count(b"HTTP/1.1 ") == 1


def test_a_crowd_hurts_neither_mail_nor_memory(own: Gateway, daemon: Daemon) -> None:
    """Beyond a few connections at a time, the next are closed unheard; one that goes makes room."""
    where = metrics_where(daemon)
    before = daemon.memory()
    crowd = [connect(where) for _ in range(200)]
    try:
        for peer in crowd[8:]:
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""
        for peer in crowd[:8]:
            peer.sendall(b"GET /metrics")
        assert daemon.ask(sender="u@koeln.example", client_address=RIGHT) == "DUNNO"
        crowd[0].sendall(b" HTTP/1.1\r\n\r\n")
        assert b"".join(iter(lambda: crowd[0].recv(65536), b"")).startswith(b"HTTP/1.1 200 ")
        assert scrape(where)["closedmail_policyd_requests_total",] == 1
        assert daemon.memory() - before < 16 << 20
        assert daemon.stop() == 0  # whoever is still there
    finally:
        for peer in crowd:
            peer.close()


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


def test_whoever_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is of the whole connection; bytes that drip do not make it longer."""
    monkeypatch.setattr(metrics_http, "_TIME_LIMIT", 0.01)

    async def page() -> bytes:
        raise AssertionError("nobody asked")

    async def drip() -> None:
        wire = Wire()
        one = MetricsConnection(MetricsConnections(page, "text/plain"))
        one.connection_made(wire)
        while not wire.aborted:
            one.data_received(b"x")
            await asyncio.sleep(0.001)
        one.connection_lost(None)

    asyncio.run(drip())
