"""An SMTP server that takes every mail and remembers it: the other side of a delivery, in a thread.

It speaks as much of SMTP as an MTA needs, one thread a connection, for a demonstration or a test.
"""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from closedmail.errors import ClosedmailError

_LINE_LIMIT = 64 * 1024
_IDLE_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class SinkMail:
    """One mail as it came in.

    `tls` is the protocol ("TLSv1.3"), or "" for plain text. `client_fingerprint` is the SHA-256 fingerprint of the
    client's certificate in Postfix's form, or "".
    """

    peer: str
    helo: str
    sender: str
    recipients: tuple[str, ...]
    data: bytes
    tls: str
    client_fingerprint: str


class Sink:
    """The server, listening inside its `with` block.

    With `certificate` (certificate file, key file) it offers STARTTLS. With `client_ca` it asks for a client
    certificate too, which must then be of this CA; none at all is fine. Port 0 becomes a free one.
    """

    def __init__(
        self,
        address: str = "127.0.0.1",
        port: int = 0,
        *,
        certificate: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
    ) -> None:
        self._mails: list[SinkMail] = []
        self._arrived = threading.Condition()
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            if client_ca is not None:
                context.verify_mode = ssl.CERT_OPTIONAL
                context.load_verify_locations(client_ca)
        self._server = _Server((address, port), context, self._take)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.address = address
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    @property
    def mails(self) -> list[SinkMail]:
        """What came so far, oldest first."""
        with self._arrived:
            return list(self._mails)

    def wait(self, count: int = 1, timeout: float = 20.0) -> list[SinkMail]:
        """Wait until so many mails are there, and give all back."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._mails) >= count, timeout):
                raise ClosedmailError(f"{len(self._mails)} of {count} mails arrived within {timeout:g} s")
            return list(self._mails)

    def _take(self, mail: SinkMail) -> None:
        with self._arrived:
            self._mails.append(mail)
            self._arrived.notify_all()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    # Closing the sockets ends the threads; waiting for them would wait for the clients.
    block_on_close = False

    def __init__(
        self, where: tuple[str, int], context: ssl.SSLContext | None, take: Callable[[SinkMail], None]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self.context = context
        self.take = take
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        try:
            super().__init__(where, _Session)
        except OSError as error:
            raise ClosedmailError(f"cannot listen on {where[0]}:{where[1]}: {error.strerror}") from error

    def process_request(self, request: Any, client_address: Any) -> None:
        self.remember(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.forget(request)
        super().shutdown_request(request)

    def remember(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def close_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                # The thread that reads from it gets an end of file, and closes it.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off, or dislikes our certificate, is nothing to print a traceback for."""


class _Session(socketserver.BaseRequestHandler):
    server: _Server

    def setup(self) -> None:
        self.connection: socket.socket = self.request
        self.connection.settimeout(_IDLE_LIMIT)
        self.reader = self.connection.makefile("rb")
        self.helo = self.tls = self.fingerprint = ""
        self.reset()

    def finish(self) -> None:
        # After STARTTLS the base class knows only the socket of before, which was detached.
        self.server.forget(self.connection)
        self.reader.close()
        self.connection.close()

    def reset(self) -> None:
        self.sender: str | None = None
        self.recipients: list[str] = []

    def handle(self) -> None:
        self.say("220 sink.example ESMTP")
        while line := self.reader.readline(_LINE_LIMIT):
            verb, _, argument = line.decode("utf-8", "replace").strip().partition(" ")
            match verb.upper():
                case "EHLO":
                    self.helo = argument
                    self.reset()
                    starttls = ["STARTTLS"] if self.server.context is not None and not self.tls else []
                    words = ["sink.example", *starttls, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
                    self.say(*(f"250-{word}" for word in words), "250 PIPELINING")
                case "HELO":
                    self.helo = argument
                    self.reset()
                    self.say("250 sink.example")
                case "STARTTLS" if self.server.context is not None and not self.tls:
                    self.say("220 2.0.0 go ahead")
                    self.start_tls(self.server.context)
                case "MAIL":
                    self.reset()
                    self.sender = _address(argument)
                    self.say("250 2.1.0 ok")
                case "RCPT" if self.sender is not None:
                    self.recipients.append(_address(argument))
                    self.say("250 2.1.5 ok")
                case "DATA" if self.sender is not None and self.recipients:
                    self.say("354 go on")
                    if (data := self.read_message()) is None:
                        return
                    peer = str(self.client_address[0])
                    recipients = tuple(self.recipients)
                    mail = SinkMail(peer, self.helo, self.sender, recipients, data, self.tls, self.fingerprint)
                    self.reset()
                    self.server.take(mail)
                    self.say("250 2.0.0 taken")
                case "RSET" | "NOOP":
                    self.reset()
                    self.say("250 2.0.0 ok")
                case "QUIT":
                    self.say("221 2.0.0 bye")
                    return
                case _:
                    self.say("503 5.5.1 not here, or not now")

    def say(self, *lines: str) -> None:
        self.connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def start_tls(self, context: ssl.SSLContext) -> None:
        # What the client sent in clear text behind STARTTLS stays in the old reader, and is lost as it should be.
        self.reader.close()
        connection = context.wrap_socket(self.connection, server_side=True)
        self.connection = connection
        self.server.remember(connection)
        self.reader = connection.makefile("rb")
        self.tls = connection.version() or ""
        certificate = connection.getpeercert(binary_form=True)
        if certificate:
            self.fingerprint = sha256(certificate).digest().hex(":").upper()
        self.helo = ""
        self.reset()

    def read_message(self) -> bytes | None:
        lines: list[bytes] = []
        while line := self.reader.readline(_LINE_LIMIT):
            if line == b".\r\n":
                return b"".join(lines)
            lines.append(line.removeprefix(b"."))
        return None


def _address(argument: str) -> str:
    """What stands between the angle brackets of `FROM:<a@b.example> SIZE=1`."""
    return argument.partition("<")[2].rpartition(">")[0]
