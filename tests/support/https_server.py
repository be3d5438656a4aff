"""An HTTPS server on loopback with a CA of its own, with the answers that a test gives it."""

import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says to a request. Content-Length is added unless `headers` has one or `length` is False."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, for assertions."""

    method: str
    path: str
    headers: Mapping[str, str]
    client: str = ""  # the common name of the client's certificate


# A handler gets the request and answers, or takes the raw connection and answers None.
Handler = Callable[[Request, socket.socket], Answer | None]


def openssl(*args: str, cwd: Path) -> None:
    subprocess.run(["openssl", *args], cwd=cwd, check=True, capture_output=True)  # noqa: S607  the one in PATH


class Authority:
    """A CA made by openssl in `folder`; `ca_file` is its certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        folder.mkdir(parents=True, exist_ok=True)
        make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout ca.key -out ca.pem"
        openssl(*make.split(), "-subj", "/CN=Closed Net Test CA", cwd=folder)

    def issue(self, name: str, *, san: str = "", days: int = 30) -> tuple[Path, Path]:
        """A certificate and its key; negative `days` make it expired."""
        f = self.folder
        make = f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr"
        openssl(*make.split(), "-subj", f"/CN={name}", cwd=f)
        (f / f"{name}.ext").write_text(f"subjectAltName={san}\n" if san else "basicConstraints=CA:FALSE\n")
        make = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -extfile {name}.ext"
        openssl(*make.split(), "-days", str(days), cwd=f)
        return f / f"{name}.pem", f / f"{name}.key"


class HttpsServer:
    """`with HttpsServer(folder) as server:` serves `server.answers[path]` (an Answer, a list of them in turn, or a
    Handler) on 127.0.0.1 and notes every request in `server.requests`. Unknown paths are 404.

    `certificate` replaces the one for `localhost` and 127.0.0.1, `client_ca` demands a client certificate of it,
    or only asks for one with `client_optional`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        authority: Authority | None = None,
        certificate: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
        client_optional: bool = False,
    ) -> None:
        self.authority = authority or Authority(folder)
        self.ca_file = str(self.authority.ca_file)
        self.answers: dict[str, Answer | list[Answer] | Handler] = {}
        self.requests: list[Request] = []
        cert, key = certificate or self.authority.issue("server", san="DNS:localhost,IP:127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        if client_ca:
            context.verify_mode = ssl.CERT_OPTIONAL if client_optional else ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        self._server = _Server(self, context)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"

    def __enter__(self) -> "HttpsServer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    # Some answers wait for a client that never comes back; nobody waits for them.
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: HttpsServer, context: ssl.SSLContext) -> None:
        self.owner = owner
        self.context = context
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake belongs to the connection's own thread, where a slow client stops nobody else.
        with self.context.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what the tests are about."""


def _client(connection: Any) -> str:
    subject = (connection.getpeercert() or {}).get("subject", ())
    return "".join(value for pairs in subject for name, value in pairs if name == "commonName")


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        owner = self.server.owner
        request = Request(self.command, self.path, dict(self.headers.items()), _client(self.connection))
        owner.requests.append(request)
        answer = owner.answers.get(self.path, Answer(404))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            made = answer(request, self.connection)
            if made is None:
                self.close_connection = True
                return
            answer = made
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length and "Content-Length" not in answer.headers and answer.status != 304:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name http.server calls
        """Quiet: `HttpsServer.requests` is the log."""
