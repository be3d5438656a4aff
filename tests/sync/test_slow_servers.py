"""Several networks are fetched side by side: what one server does, and when, changes nothing for another's list."""

import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.https_server import Answer, Authority, Handler, HttpsServer, Request
from support.network import Outcome, Site, text_rows
from support.real import require

pytestmark = pytest.mark.real("gpg", "postmap", "postconf", "openssl")

KOELN = "koeln.example\tesmtp:[192.0.2.1]\n"
BONN = "bonn.example\tesmtp:[192.0.2.2]\n"
LONG = 60  # seconds; no test that passes waits for it


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsServer]:
    require("openssl")
    folder = tmp_path_factory.mktemp("web")
    with HttpsServer(folder, authority=Authority(folder)) as server:
        yield server


@pytest.fixture
def two(plain: Site, web: HttpsServer) -> Site:
    """A gateway in the networks `ndb` and `kim`, whose lists are `/ndb` and `/kim`."""
    plain.add_network("kim")
    for name in ("ndb", "kim"):
        plain.set(name, source=web.url(f"/{name}"), ca_file=web.ca_file)
    web.answers.clear()
    web.requests.clear()
    return plain


def test_all_are_asked_before_any_answers(two: Site, web: HttpsServer) -> None:
    both = threading.Barrier(2, timeout=LONG)

    def late(text: str) -> Callable[[Request, socket.socket], Answer]:
        def answer(request: Request, connection: socket.socket) -> Answer:
            both.wait()
            return Answer(body=text.encode())

        return answer

    web.answers |= {"/ndb": late(KOELN), "/kim": late(BONN)}
    networks = two.sync().networks
    assert {name: (item.result, item.added) for name, item in networks.items()} == {
        "ndb": ("published", ["koeln.example"]),
        "kim": ("published", ["bonn.example"]),
    }


def test_who_answers_first_does_not_matter(two: Site, web: HttpsServer) -> None:
    """Lines, errors and what is in force are the same: one list can't be had, the other one can."""
    answers = {"/ndb": Answer(404), "/kim": Answer(body=(KOELN + BONN).encode())}
    seen: list[tuple[Outcome, dict[str, str]]] = []
    for first, second in (("/ndb", "/kim"), ("/kim", "/ndb")):
        done = threading.Event()
        # The one that is asked first answers at once; the other one when that has been read, connection and all.
        web.answers |= {first: after(None, answers[first], done), second: after(done, answers[second])}
        outcome = two.run("-v", "sync")
        seen.append((outcome, text_rows(two.map_dir / "transport")))
        for folder in (two.state_dir, two.map_dir):
            shutil.rmtree(folder)
    assert seen[0] == seen[1]
    outcome, rows = seen[0]
    assert outcome.status == 1
    assert "ndb: fetch-failed" in outcome.stderr
    assert rows == {"koeln.example": "smtp:[192.0.2.1]", "bonn.example": "smtp:[192.0.2.2]"}


def after(wanted: threading.Event | None, answer: Answer, done: threading.Event | None = None) -> Handler:
    """Answer when `wanted` is set; set `done` when the client has read the answer to its end, and hung up."""

    def handler(request: Request, connection: socket.socket) -> None:
        assert wanted is None or wanted.wait(LONG)
        head = f"HTTP/1.1 {answer.status} Answer\r\nContent-Length: {len(answer.body)}\r\n\r\n"
        connection.sendall(head.encode() + answer.body)
        with suppress(OSError):
            connection.recv(1)
        if done:
            done.set()

    return handler


def test_an_interrupted_run_waits_for_nobody(two: Site, web: HttpsServer) -> None:
    """Ctrl-C while a server is silent: nothing is left, and the next run begins at once."""
    web.answers |= {"/ndb": Answer(body=KOELN.encode()), "/kim": Answer(body=BONN.encode())}
    assert not two.sync().refused
    before = two.in_force()
    asked, over = threading.Event(), threading.Event()

    def silent(request: Request, connection: socket.socket) -> None:
        asked.set()
        over.wait(LONG)

    web.answers["/ndb"] = silent
    process = subprocess.Popen(
        two.command("sync"), env=two.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert asked.wait(LONG)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=LONG)
    assert not over.is_set()
    assert (process.returncode, out) == (1, "")
    assert "Traceback" not in errors
    assert two.in_force() == before
    assert not Path(two.state_dir, "work").exists()
    over.set()
    web.answers["/ndb"] = Answer(body=BONN.encode())
    assert two.sync("kim").networks["kim"].code is None
