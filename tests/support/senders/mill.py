"""A running Postfix as an oracle for senders: what it asks a policy service, and what stands in its queue file.

One private Postfix has an smtpd, a cleanup and a trivial-rewrite of its own for each set of settings. Every mail is put
on hold, and its sender is read from the queue file itself: the log prints odd bytes as `?`, the file has them.
"""

import re
import socket
import socketserver
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from closedmail.demo.postfix_configuration import SmtpdListener
from support.private_postfix import PrivatePostfix

# Settings of trivial-rewrite(8), which completes a sender; all others are smtpd's and cleanup's.
REWRITING = ("swap_bangpath", "allow_percent_hack", "append_at_myorigin", "myorigin", "append_dot_mydomain", "mydomain")
_PATIENT = dict.fromkeys(("smtpd_soft_error_limit", "smtpd_hard_error_limit", "smtpd_junk_command_limit"), "1000000")
_QUEUED = re.compile(rb"queued as (\w+)")


@dataclass(frozen=True, slots=True)
class Spelling:
    """One MAIL command: the settings of the Postfix that gets it, and all that comes after `MAIL `, as bytes."""

    settings: str
    argument: bytes
    way: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of it. `attribute` is the `sender=` that a policy service is asked; None of both: refused."""

    spelling: Spelling
    reply: str
    attribute: bytes | None = None
    queued: bytes | None = None


class _Recorder(socketserver.ThreadingTCPServer):
    """A policy service that remembers what it was asked, by queue id, and has every mail put on hold."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self) -> None:
        self.asked: dict[str, bytes] = {}
        super().__init__(("127.0.0.1", 0), _Questions)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Postfix closes its connections when it ends."""


class _Questions(socketserver.StreamRequestHandler):
    server: _Recorder

    def handle(self) -> None:
        request: dict[bytes, bytes] = {}
        for line in self.rfile:
            name, equals, value = line.removesuffix(b"\n").partition(b"=")
            if equals:
                request[name] = value
                continue
            self.server.asked[request[b"queue_id"].decode()] = request[b"sender"]
            request = {}
            self.wfile.write(b"action=HOLD\n\n")


class Mill:
    """`send` gives spellings to the Postfix, and what it made of them back."""

    def __init__(self, postfix: PrivatePostfix, ports: Mapping[str, int], asked: Mapping[str, bytes]):
        self.postfix, self._ports, self._asked = postfix, ports, asked

    def send(self, spellings: Iterable[Spelling], sessions: int = 1) -> list[Seen]:
        """Send all, in so many sessions for each set of settings at once."""
        heaps: dict[tuple[str, int], list[Spelling]] = {}
        for number, spelling in enumerate(spellings):
            heaps.setdefault((spelling.settings, number % sessions), []).append(spelling)
        with ThreadPoolExecutor(len(heaps) or 1) as pool:
            done = pool.map(self._session, heaps.values())
        return [seen for heap in done for seen in heap]

    def _session(self, spellings: Sequence[Spelling]) -> list[Seen]:
        with socket.create_connection(("127.0.0.1", self._ports[spellings[0].settings]), timeout=60) as connection:
            replies = _replies(connection)
            next(replies)
            connection.sendall(b"EHLO client.example\r\n")
            next(replies)
            return [self._mail(connection, replies, spelling) for spelling in spellings]

    def _mail(self, connection: socket.socket, replies: Iterator[bytes], spelling: Spelling) -> Seen:
        mail = b"MAIL " + spelling.argument
        connection.sendall(b"RSET\r\n" + mail + b"\r\nRCPT TO:<office@city.example>\r\nDATA\r\n")
        _, *answers, last = (next(replies) for _ in range(4))
        if last.startswith(b"354"):
            connection.sendall(b"\r\n.\r\n")
            last = next(replies)
        if not (found := _QUEUED.search(last)):
            refusal = next((answer for answer in answers if not answer.startswith(b"250")), last)
            return Seen(spelling, refusal.decode("utf-8", "replace").strip())
        name = found[1].decode()
        sender = queued_sender(self.postfix.queue_directory / "hold" / name)
        return Seen(spelling, last.decode().strip(), self._asked[name], sender)


@contextmanager
def running_mill(folder: Path, tables: Mapping[str, Mapping[str, str]], policy: str = "") -> Iterator[Mill]:
    """A Postfix with a listener for each of these tables of settings; `policy` is a service to be asked before us."""
    with ExitStack() as stack:
        recorder = stack.enter_context(_Recorder())
        threading.Thread(target=recorder.serve_forever, args=(0.05,), daemon=True).start()
        stack.callback(recorder.shutdown)
        services, listeners = [], []
        for number, settings in enumerate(tables.values()):
            rewriting = _options({name: value for name, value in settings.items() if name in REWRITING})
            others = {name: value for name, value in settings.items() if name not in REWRITING}
            rewrite, cleanup = f"rewrite{number}", f"cleanup{number}"
            others["rewrite_service_name"] = rewrite
            services.append(f"{rewrite} unix - - n - - trivial-rewrite{rewriting}")
            services.append(f"{cleanup} unix n - n - 0 cleanup{_options(others)}")
            listeners.append(SmtpdListener(options={**others, "cleanup_service_name": cleanup}))
        parameters = {
            **_PATIENT,
            "smtpd_data_restrictions": f"check_policy_service inet:127.0.0.1:{recorder.server_address[1]}",
            "smtpd_sender_restrictions": f"check_policy_service {policy}" if policy else "",
        }
        postfix = stack.enter_context(PrivatePostfix(folder, parameters, services=services, listeners=listeners))
        ports = {name: listener.port for name, listener in zip(tables, postfix.listeners, strict=True)}
        yield Mill(postfix, ports, recorder.asked)


def queued_sender(file: Path) -> bytes:
    """The sender's record of a queue file: a type, a length of seven bits a byte, the lowest first, and the data."""
    data, at = file.read_bytes(), 0
    while at < len(data):
        kind, length, shift = data[at : at + 1], 0, 0
        while True:
            at += 1
            length |= (data[at] & 0x7F) << shift
            shift += 7
            if data[at] < 0x80:
                break
        at += 1
        if kind == b"S":
            return data[at : at + length]
        at += length
    raise AssertionError(f"{file} has no sender")


def _options(settings: Mapping[str, str]) -> str:
    return "".join(f"\n  -o {{ {name} = {value} }}" for name, value in settings.items())


def _replies(connection: socket.socket) -> Iterator[bytes]:
    """The last line of each reply."""
    with connection.makefile("rb") as lines:
        for line in lines:
            if line[3:4] == b" ":
                yield line
