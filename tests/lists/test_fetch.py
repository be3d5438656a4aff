"""Fetching a list from a real HTTPS server that behaves in every way a server can."""

import os
import resource
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.https_server import Answer, Authority, HttpsServer, Request, openssl

from closedmail import __version__
from closedmail.errors import Refused
from closedmail.lists.answer_meter import AnswerMeter
from closedmail.lists.fetch import Fetched, Validators, fetch
from closedmail.lists.https_source import tls_context

LIST = b"koeln.example esmtp:[192.0.2.1]\n" * 5000
MAX_SIZE = 1 << 20


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def shared(authority: Authority) -> Iterator[HttpsServer]:
    with HttpsServer(authority.folder, authority=authority) as server:
        yield server


@pytest.fixture
def server(shared: HttpsServer) -> HttpsServer:
    shared.answers.clear()
    shared.requests.clear()
    return shared


def get(location: str, folder: Path, **how: Any) -> Fetched:
    how = {"max_size": MAX_SIZE, "retry_pause": 0.0, "total_timeout": 20.0, **how}
    return fetch(location, folder / "list", **how)


def refused(location: str, folder: Path, code: str = "fetch-failed", **how: Any) -> str:
    """The reason of the refusal, which must be one printable line and leave no file."""
    with pytest.raises(Refused) as caught:
        get(location, folder, **how)
    assert caught.value.code == code
    assert caught.value.reason.isprintable()
    assert not {"list", "list.part"} & {path.name for path in folder.iterdir()}
    return caught.value.reason


# --- https ---------------------------------------------------------------------------------------------------------


def test_a_list_and_its_validators(server: HttpsServer, tmp_path: Path) -> None:
    headers = {"ETag": '"a1"', "Last-Modified": "Tue, 24 Nov 2026 03:00:00 GMT"}
    server.answers["/list"] = Answer(body=LIST, headers=headers)
    steps: list[tuple[int, int | None]] = []
    fetched = get(
        server.url("/list"), tmp_path, ca_file=server.ca_file, progress=lambda n, all_: steps.append((n, all_))
    )
    assert fetched == Fetched(tmp_path / "list", Validators('"a1"', "Tue, 24 Nov 2026 03:00:00 GMT"))
    assert (tmp_path / "list").read_bytes() == LIST
    assert [path.name for path in tmp_path.iterdir()] == ["list"]
    assert steps[-1] == (len(LIST), len(LIST))
    (request,) = server.requests
    assert request.headers["User-Agent"] == f"closedmail/{__version__}"
    assert request.headers["Accept-Encoding"] == "identity"
    assert "If-None-Match" not in request.headers


def test_unchanged(server: HttpsServer, tmp_path: Path) -> None:
    previous = Validators('"a1"', "Tue, 24 Nov 2026 03:00:00 GMT")
    server.answers["/list"] = Answer(304)
    assert get(server.url("/list"), tmp_path, ca_file=server.ca_file, previous=previous) == Fetched(None, previous)
    assert server.requests[0].headers["If-None-Match"] == '"a1"'
    assert server.requests[0].headers["If-Modified-Since"] == "Tue, 24 Nov 2026 03:00:00 GMT"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("previous", [None, Validators(), Validators(stat=(1, 2, 3, 4, 5))])
def test_unchanged_that_nobody_asked_for(server: HttpsServer, tmp_path: Path, previous: Validators | None) -> None:
    server.answers["/list"] = Answer(304)
    assert "304" in refused(server.url("/list"), tmp_path, ca_file=server.ca_file, previous=previous)


def test_validators_survive_json() -> None:
    for validators in (Validators(), Validators('W/"x"', "yesterday"), Validators(stat=(1, 2, 3, 4, 5))):
        assert Validators.from_dict(validators.to_dict()) == validators
    assert Validators.from_dict({}) == Validators()


@pytest.mark.parametrize("etag", ['"\x01"', '"ü"', '"' + "x" * 2000 + '"'])
def test_validators_that_could_not_be_sent_back_are_dropped(server: HttpsServer, tmp_path: Path, etag: str) -> None:
    server.answers["/list"] = Answer(body=b"x", headers={"ETag": etag})
    assert get(server.url("/list"), tmp_path, ca_file=server.ca_file).validators == Validators()


def test_chunks(server: HttpsServer, tmp_path: Path) -> None:
    def chunked(request: Request, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    server.answers["/list"] = chunked
    get(server.url("/list"), tmp_path, ca_file=server.ca_file)
    assert (tmp_path / "list").read_bytes() == b"abcde"


@pytest.mark.parametrize(
    ("status", "asked", "hint"),
    [
        (204, 1, "check source"),
        (206, 1, "check source"),
        (400, 1, "check source"),
        (401, 1, "client_cert"),
        (403, 1, "client_cert"),
        (404, 1, "check source"),
        (410, 1, "check source"),
        (429, 3, "tries again"),
        (500, 3, "tries again"),
        (503, 3, "tries again"),
    ],
)
def test_other_answers(server: HttpsServer, tmp_path: Path, status: int, asked: int, hint: str) -> None:
    server.answers["/list"] = Answer(status)
    reason = refused(server.url("/list"), tmp_path, ca_file=server.ca_file)
    assert f" {status} " in reason
    assert hint in reason
    assert len(server.requests) == asked


def test_a_second_try_helps(server: HttpsServer, tmp_path: Path) -> None:
    server.answers["/list"] = [Answer(503), Answer(body=b"half", headers={"Content-Length": "9"}), Answer(body=LIST)]
    get(server.url("/list"), tmp_path, ca_file=server.ca_file)
    assert (tmp_path / "list").read_bytes() == LIST
    assert len(server.requests) == 3


def _raw(data: bytes) -> Any:
    def handler(request: Request, connection: socket.socket) -> None:
        connection.sendall(data)

    return handler


BROKEN = {
    "body cut short": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
    "chunks cut short": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"),
    "no last chunk": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    "bad chunk": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\x1b[31m\r\n"),
    "chunk of negative size": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhalf\r\n"),
    "no HTTP": _raw(b"\x1b]0;hello\x07\r\n\r\n"),
    "nothing": _raw(b""),
    "endless header": _raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000 + b"\r\n\r\n"),
    "headers without number": _raw(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n"),
    "a reason that moves the terminal": _raw(b"HTTP/1.1 500 \x1b[2J\x9b\xff bad\r\nContent-Length: 0\r\n\r\n"),
    "compressed": Answer(body=b"x", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_answer(server: HttpsServer, tmp_path: Path, case: str) -> None:
    server.answers["/list"] = BROKEN[case]
    assert "its URL" not in refused(server.url("/list"), tmp_path, ca_file=server.ca_file)


# What a server sends once, and what it then goes on with for ever; how much of that is the list.
_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "interim answers with headers": (b"", b"HTTP/1.1 100 Continue\r\n" + b"X: x\r\n" * 50 + b"\r\n"),
    "chunk extensions": (_HEAD, b"1;" + b"x" * 60000 + b"\r\na\r\n"),
    "short chunk extensions": (_HEAD, b"1;x\r\na\r\n"),
    "tiny chunks": (_HEAD, b"1\r\na\r\n"),
    "trailers": (_HEAD + b"1\r\na\r\n0\r\n", b"X: x\r\n"),
    "a chunk to the end of the connection": (_HEAD + b"-1\r\n", b"a" * 1000),
    "empty lines in place of chunks": (_HEAD + b"1\r\na\r\n", b"\r\n"),
}


@pytest.mark.parametrize("case", FLOODS)
def test_flood(server: HttpsServer, tmp_path: Path, case: str) -> None:
    """It ends after a megabyte beside the list, at the first attempt, long before the time and the list's size do."""
    start, piece = FLOODS[case]
    block = piece * (1 + 65536 // len(piece))
    sent: list[int] = []

    def flood(request: Request, connection: socket.socket) -> None:
        sent.append(0)
        with suppress(OSError):  # the client hangs up
            connection.sendall(start)
            while sent[-1] < 1 << 30:
                connection.sendall(block)
                sent[-1] += len(block)

    server.answers["/list"] = flood
    before = resource.getrusage(resource.RUSAGE_THREAD)
    reason = refused(server.url("/list"), tmp_path, ca_file=server.ca_file, max_size=64 << 20, total_timeout=10.0)
    after = resource.getrusage(resource.RUSAGE_THREAD)
    if case == "empty lines in place of chunks":  # no HTTP any more
        assert "ended before" in reason
    else:
        assert "much longer than the list" in reason
        assert len(sent) == 1
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


def test_interim_answers_and_trailers_are_skipped(server: HttpsServer, tmp_path: Path) -> None:
    def chunked(request: Request, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + _HEAD)
        for line in LIST.splitlines(keepends=True):
            connection.sendall(b"%x;a=b\r\n%b\r\n" % (len(line), line))
        connection.sendall(b"0\r\nX: x\r\n\r\n")

    server.answers["/list"] = chunked
    get(server.url("/list"), tmp_path, ca_file=server.ca_file)
    assert (tmp_path / "list").read_bytes() == LIST


@pytest.mark.parametrize(
    ("list_size", "beside", "reads", "fits"),
    [
        (0, 1 << 19, 1, True),
        (0, 1 << 20, 1, False),
        (64 << 20, 8 << 20, 4096, True),  # TLS records of 16 KiB, an eighth beside
        (64 << 20, 10 << 20, 4096, False),
        (1 << 20, 0, 1 << 10, True),
        (1 << 20, 0, 1 << 16, False),  # an octet a record, or nearly
    ],
)
def test_what_an_answer_may_have_beside_the_list(list_size: int, beside: int, reads: int, fits: bool) -> None:
    meter = AnswerMeter("source")

    def transfer() -> None:
        for _ in range(reads):
            meter.received((list_size + beside) // reads)
            meter.delivered(list_size // reads)

    if fits:
        transfer()
    else:
        with pytest.raises(Refused, match=r"^source: .* check source"):
            transfer()


def test_too_large(server: HttpsServer, tmp_path: Path) -> None:
    endless = threading.Event()

    def stream(request: Request, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not endless.is_set():
            connection.sendall(b"x" * 65536)

    server.answers["/announced"] = Answer(headers={"Content-Length": "1001"})
    server.answers["/endless"] = stream
    server.answers["/fits"] = Answer(body=b"x" * 1000)
    refused(server.url("/announced"), tmp_path, "too-large", ca_file=server.ca_file, max_size=1000)
    refused(server.url("/endless"), tmp_path, "too-large", ca_file=server.ca_file, max_size=1000)
    endless.set()
    assert len(server.requests) == 2
    assert get(server.url("/fits"), tmp_path, ca_file=server.ca_file, max_size=1000).path


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_server_that_drips(server: HttpsServer, tmp_path: Path, start: bytes) -> None:
    def drip(request: Request, connection: socket.socket) -> None:
        connection.sendall(start)
        while not done.wait(0.05):
            connection.sendall(b"H")

    done = threading.Event()
    server.answers["/list"] = drip
    reason = refused(server.url("/list"), tmp_path, ca_file=server.ca_file, total_timeout=0.4)
    done.set()
    assert "within 0.4 seconds" in reason


def test_server_that_never_answers_the_handshake(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/list"
        assert "within 0.4 seconds" in refused(url, tmp_path, total_timeout=0.4)


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"https://127.0.0.1:{closed.getsockname()[1]}/list"
    assert "refused" in refused(url, tmp_path).lower()


def test_connection_reset(tmp_path: Path) -> None:
    def reset() -> None:
        for _ in range(2):
            connection, _peer = listener.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=reset)
        thread.start()
        refused(f"https://127.0.0.1:{listener.getsockname()[1]}/", tmp_path, attempts=2)
        thread.join()  # it was tried twice


# --- redirects -----------------------------------------------------------------------------------------------------


def _redirect(target: str, status: int = 302) -> Answer:
    return Answer(status, body=b"moved", headers={"Location": target})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(server: HttpsServer, tmp_path: Path, status: int) -> None:
    server.answers["/list"] = _redirect("/new list?ü=1", status)
    server.answers["/new%20list?%C3%83%C2%BC=1"] = Answer(body=LIST)  # headers are Latin-1 on the way
    server.answers["/new%20list?%C3%BC=1"] = Answer(body=LIST)
    get(server.url("/list"), tmp_path, ca_file=server.ca_file, previous=Validators('"a1"'))
    assert (tmp_path / "list").read_bytes() == LIST
    assert server.requests[1].headers["If-None-Match"] == '"a1"'


def test_five_redirects_are_followed_six_are_not(server: HttpsServer, tmp_path: Path) -> None:
    for number in range(6):
        server.answers[f"/{number}"] = _redirect(f"/{number + 1}")
    server.answers["/6"] = Answer(body=LIST)
    assert get(server.url("/1"), tmp_path, ca_file=server.ca_file).path
    (tmp_path / "list").unlink()
    assert "5 times" in refused(server.url("/0"), tmp_path, ca_file=server.ca_file)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/list",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "data:,x",
        "",
        "https://[::1",
        "https://u:geheim@net.example/",
    ],
)
def test_redirect_elsewhere_is_not_followed(server: HttpsServer, tmp_path: Path, target: str) -> None:
    server.answers["/list"] = _redirect(target)
    reason = refused(server.url("/list"), tmp_path, ca_file=server.ca_file)
    assert "geheim" not in reason
    assert len(server.requests) == 1


# --- who is who ----------------------------------------------------------------------------------------------------


def test_password_is_sent_and_never_shown(server: HttpsServer, tmp_path: Path) -> None:
    url = server.url("/list").replace("https://", "https://city:ge%40heim@")
    server.answers["/list"] = Answer(body=LIST)
    assert get(url, tmp_path, ca_file=server.ca_file).path
    assert server.requests[0].headers["Authorization"] == "Basic Y2l0eTpnZUBoZWlt"
    (tmp_path / "list").unlink()
    server.answers["/list"] = Answer(404)
    reason = refused(url, tmp_path, ca_file=server.ca_file)
    assert "heim" not in reason
    assert "city" not in reason


def test_password_does_not_follow_to_another_host(server: HttpsServer, tmp_path: Path) -> None:
    server.answers["/list"] = _redirect(server.url("/other", host="127.0.0.1"))
    server.answers["/other"] = Answer(body=LIST)
    get(server.url("/list").replace("https://", "https://city:geheim@"), tmp_path, ca_file=server.ca_file)
    assert ["Authorization" in request.headers for request in server.requests] == [True, False]


def test_client_certificate_does_not_follow_to_another_host_or_port(authority: Authority, tmp_path: Path) -> None:
    """A redirect back to the source's own host and port gets it again; it is asked for everywhere."""
    cert, key = authority.issue("city")
    how: dict[str, Any] = {"authority": authority, "client_ca": authority.ca_file, "client_optional": True}
    with HttpsServer(tmp_path / "a", **how) as own, HttpsServer(tmp_path / "b", **how) as other:
        own.answers["/list"] = _redirect("/here")
        own.answers["/here"] = _redirect(own.url("/host", host="127.0.0.1"))
        own.answers["/host"] = _redirect(other.url("/port"))
        other.answers["/port"] = _redirect(own.url("/back").replace("localhost", "LOCALHOST"))
        own.answers["/back"] = Answer(body=LIST)
        get(own.url("/list"), tmp_path, ca_file=own.ca_file, client_cert=str(cert), client_key=str(key))
        seen = {request.path: request.client for request in own.requests + other.requests}
    assert seen == {"/list": "city", "/here": "city", "/host": "", "/port": "", "/back": "city"}


@pytest.mark.parametrize("status", [403, 404, 503])
def test_no_secret_of_a_url_is_shown(server: HttpsServer, tmp_path: Path, status: int) -> None:
    """Not those of source and redirect, and not where the server repeats them in its answer."""
    repeats = _raw(b"HTTP/1.1 %d no sig=geheim here\r\nContent-Length: 0\r\n\r\n" % status)
    server.answers["/list?sig=geheim"] = repeats
    reason = refused(server.url("/list?sig=geheim"), tmp_path, ca_file=server.ca_file, attempts=1)
    assert f"/list?…: the server answers {status} " in reason
    assert "geheim" not in reason
    server.answers["/list?sig=geheim"] = _redirect("http://cdn.example/list?token=geheim#geheim")
    reason = refused(server.url("/list?sig=geheim"), tmp_path, ca_file=server.ca_file)
    assert "redirected to http://cdn.example/list?…," in reason
    assert "geheim" not in reason


@pytest.mark.parametrize(
    "url",
    ["https://lists.example/a?sig=geh\x01eim", "https://city:geh/eim@x.example/"],
)
def test_no_secret_of_a_url_that_is_none(tmp_path: Path, url: str) -> None:
    reason = refused(url, tmp_path, attempts=1)
    assert "geh" not in reason
    assert "eim" not in reason


@pytest.mark.parametrize("proxy", ["http:/city:geheim@proxy.example", "http://city:geh/eim@127.0.0.1:1"])
def test_no_password_of_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    reason = refused("https://lists.example/a", tmp_path, attempts=1)
    assert "geh" not in reason
    assert "proxy" in reason


def test_unknown_ca(server: HttpsServer, tmp_path: Path) -> None:
    server.answers["/list"] = Answer(body=LIST)
    assert "ca_file" in refused(server.url("/list"), tmp_path)
    other = Authority(tmp_path / "other")
    assert "certificate" in refused(server.url("/list"), tmp_path, ca_file=str(other.ca_file))
    assert server.requests == []


def test_an_own_ca_need_not_be_strict(server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13's default refuses a CA without keyUsage, as this one is; public CAs are judged by it."""
    real = ssl.create_default_context

    def strict(**how: Any) -> ssl.SSLContext:
        context = real(**how)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    server.answers["/list"] = Answer(body=LIST)
    assert get(server.url("/list"), tmp_path, ca_file=server.ca_file).path
    assert tls_context("", "", "").verify_flags & ssl.VERIFY_X509_STRICT


@pytest.mark.parametrize(("own", "remedy"), [(False, "set ca_file to the CA"), (True, "other/ca.pem (ca_file)")])
def test_a_certificate_of_another_ca(server: HttpsServer, tmp_path: Path, own: bool, remedy: str) -> None:
    other = Authority(tmp_path / "other")
    assert remedy in refused(server.url("/list"), tmp_path, ca_file=str(other.ca_file) if own else "")


@pytest.mark.parametrize(("san", "days"), [("DNS:other.example", 30), ("", 30), ("DNS:localhost", -1)])
def test_certificate_of_another_name_or_time(authority: Authority, tmp_path: Path, san: str, days: int) -> None:
    certificate = authority.issue("bad", san=san, days=days)
    with HttpsServer(tmp_path / "s", authority=authority, certificate=certificate) as server:
        assert "certificate" in refused(server.url("/list"), tmp_path, ca_file=server.ca_file)
        assert server.requests == []


def test_client_certificate(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("city")
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    with HttpsServer(tmp_path / "s", authority=authority, client_ca=authority.ca_file) as server:
        server.answers["/list"] = Answer(body=LIST)
        how = {"ca_file": server.ca_file}
        assert get(server.url("/list"), tmp_path, client_cert=str(cert), client_key=str(key), **how).path
        assert get(server.url("/list"), tmp_path, client_cert=str(both), **how).path
        (tmp_path / "list").unlink()
        server.requests.clear()
        refused(server.url("/list"), tmp_path, **how)
        assert server.requests == []


@pytest.mark.parametrize("key", ["ca_file", "client_cert"])
@pytest.mark.parametrize("content", [None, b"no PEM\n"])
def test_certificate_files_that_are_none(tmp_path: Path, key: str, content: bytes | None) -> None:
    broken = tmp_path / "broken.pem"
    if content is not None:
        broken.write_bytes(content)
    reason = refused("https://lists.net.example/", tmp_path, **{key: str(broken)})
    assert "broken.pem" in reason
    assert key in reason


def test_client_key_with_a_password_does_not_ask(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("city")
    openssl("pkey", "-in", str(key), "-aes128", "-passout", "pass:x", "-out", str(tmp_path / "locked"), cwd=tmp_path)
    how = {"client_cert": str(cert), "client_key": str(tmp_path / "locked")}
    assert "password" in refused("https://lists.net.example/", tmp_path, **how)


# --- proxies -------------------------------------------------------------------------------------------------------


class Proxy:
    """A CONNECT proxy for one connection, or one that refuses."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        client, _ = self.listener.accept()
        with client, suppress(OSError):  # of an answer that is too long the client doesn't read the end
            while b"\r\n\r\n" not in self.asked:
                self.asked += client.recv(4096)
            client.sendall(self.answer)
            if b" 200 " not in self.answer:
                return
            port = int(self.asked.split()[1].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                back.start()
                self._pump(client, server)
                back.join()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_over_a_proxy(server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(b"HTTP/1.1 200 Connected\r\n\r\n")
    monkeypatch.setenv("https_proxy", proxy.url)
    server.answers["/list"] = Answer(body=LIST)
    get(server.url("/list"), tmp_path, ca_file=server.ca_file)
    assert proxy.asked.startswith(b"CONNECT localhost:")
    assert (tmp_path / "list").read_bytes() == LIST


def test_proxy_that_refuses(server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(b"HTTP/1.1 403 \x1b[31mno\r\n\r\n")
    monkeypatch.setenv("https_proxy", proxy.url)
    assert "proxy" in refused(server.url("/list"), tmp_path, ca_file=server.ca_file, attempts=1)
    monkeypatch.setenv("no_proxy", "localhost")
    server.answers["/list"] = Answer(body=LIST)
    assert get(server.url("/list"), tmp_path, ca_file=server.ca_file).path


def test_proxy_whose_answer_does_not_end(server: HttpsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(b"HTTP/1.1 200 Connected\r\n" + b"X: x\r\n" * 300_000)
    monkeypatch.setenv("https_proxy", proxy.url)
    assert "much longer than the list" in refused(server.url("/list"), tmp_path, ca_file=server.ca_file)


# --- locations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "http://lists.net.example/",
        "ftp://lists.net.example/",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://[::1",
        "https://lists.net.example:port/",
        "https://lists.net.example/a b\nc",
        "https://u:geheim@lists.net.example:99999/",
    ],
)
def test_locations_that_are_none(tmp_path: Path, location: str) -> None:
    assert "geheim" not in refused(location, tmp_path, attempts=1, total_timeout=5.0)


# --- paths ---------------------------------------------------------------------------------------------------------


def test_a_path_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LIST)
    first = get(str(source), tmp_path)
    assert first.path == tmp_path / "list"
    assert first.path.read_bytes() == LIST
    assert not first.path.samefile(source)
    assert get(str(source), tmp_path, previous=first.validators) == Fetched(None, first.validators)
    os.utime(source, ns=(1, 1))
    again = get(str(source), tmp_path, previous=first.validators)
    assert again.path
    assert again.validators != first.validators


def test_a_path_over_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(LIST)
    (tmp_path / "link").symlink_to("source")
    assert get(str(tmp_path / "link"), tmp_path).path


def test_a_path_too_large(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 1000)
    assert get(str(source), tmp_path, max_size=1000).path
    (tmp_path / "list").unlink()
    refused(str(source), tmp_path, "too-large", max_size=999)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "device", "NUL", "loop"])
def test_a_path_that_is_no_file(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "source")
    if kind == "directory":
        (tmp_path / "source").mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = "/dev/zero"
    elif kind == "NUL":
        path += "\0x"
    elif kind == "loop":
        (tmp_path / "source").symlink_to("source")
    assert "source" in refused(path, tmp_path)


def test_a_path_that_grows_while_it_is_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 100)

    def grow(_done: int, _total: int | None) -> None:
        with source.open("ab") as file:
            file.write(b"y")

    assert "renaming" in refused(str(source), tmp_path, progress=grow)


def test_destination_that_cannot_be_written(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    with pytest.raises(Refused, match="writable"):
        fetch(str(source), tmp_path / "no" / "list", max_size=MAX_SIZE)
