"""Connect to one host: the socket, TLS, and the SMTP session of `smtp_probe` in between.

The server may be anybody's. Whatever it sends is bounded in bytes here and in time by the caller, and TLS is OpenSSL's,
through memory, so that no call waits on its own.
"""

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from closedmail.mta.client_settings import ClientSettings
from closedmail.probe.mail_hosts import Address
from closedmail.probe.smtp_probe import NextStep, SmtpProbe
from closedmail.words import excerpt

_MOST_RAW = 512 * 1024  # bytes in all: a handshake with the longest chain that OpenSSL takes has a fifth of that
_PIECE = 16 * 1024
_CONNECT = 10.0  # seconds for one address
_LAST_WORDS = 2.0  # seconds for the answer to QUIT


@dataclass(slots=True)
class Attempt:
    """The findings of one connection, filled in as the session goes, so that a time limit leaves what is known."""

    probe: SmtpProbe
    address: str = ""
    certificate: bytes = b""
    protocol: str = ""
    bits: int = 0
    tls_error: str = ""
    trust_error: str = ""


async def connect(addresses: list[Address], settings: ClientSettings) -> tuple[socket.socket, Address]:
    """Connect to the first address that answers. Raises OSError with the reason of the last one."""
    trouble = OSError("no address")
    for where in addresses:
        sock = socket.socket(where.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            own = settings.bind_address6 if where.family == socket.AF_INET6 else settings.bind_address
            if own:
                sock.bind((own.strip("[]"), 0))
            async with asyncio.timeout(_CONNECT):
                await asyncio.get_running_loop().sock_connect(sock, (where.address, where.port))
        except OSError as error:
            # asyncio replaces the system's text by its own.
            reason = os.strerror(error.errno) if error.errno else f"no answer within {_CONNECT:g} s"
            trouble = OSError(f"{where.address}: {reason}")
        except BaseException:
            sock.close()
            raise
        else:
            return sock, where
        sock.close()
    raise trouble


async def converse(
    sock: socket.socket, attempt: Attempt, context: ssl.SSLContext | None, server_name: str | None
) -> None:
    """Run the session to its end, and close the connection. Raises nothing but a cancellation."""
    stream = _Stream(sock, attempt)
    probe = attempt.probe
    try:
        while probe.step is not NextStep.DONE:
            await stream.send(probe.outgoing())
            if probe.step is NextStep.HANDSHAKE:
                if context is None or not await stream.start_tls(context, server_name):
                    return
                probe.encrypted()
            elif probe.over:
                async with asyncio.timeout(_LAST_WORDS):
                    probe.receive(await stream.receive())
            else:
                probe.receive(await stream.receive())
    except OSError as error:  # ssl.SSLError too; TimeoutError comes from the reply to QUIT, after which nothing counts
        probe.failed(f"the connection broke: {_words(error)}")
    finally:
        sock.close()


class _Stream:
    """The bytes of one connection, in the clear or through TLS."""

    def __init__(self, sock: socket.socket, attempt: Attempt) -> None:
        self._sock, self._attempt = sock, attempt
        self._loop = asyncio.get_running_loop()
        self._from_peer, self._to_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._raw = 0

    async def send(self, data: bytes) -> None:
        if self._tls:
            if data:
                self._tls.write(data)
            await self._flush()
        elif data:
            await self._loop.sock_sendall(self._sock, data)

    async def receive(self) -> bytes:
        """Receive the next bytes; none at the end of the connection. Raises OSError."""
        if self._tls is None:
            return await self._read()
        while True:
            try:
                return self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fetch()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None) -> bool:
        """Do the TLS handshake; return False where it failed, with the reason in the `Attempt`."""
        attempt = self._attempt
        try:
            tls = context.wrap_bio(self._from_peer, self._to_peer, server_hostname=server_name)
            for _ in count():
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await self._flush()
                    await self._fetch()
            await self._flush()
        except ssl.SSLCertVerificationError as error:
            attempt.trust_error = excerpt(error.verify_message)
            await self._last_alert()
            return False
        except (OSError, ValueError) as error:  # ValueError: a server name that is none
            attempt.tls_error = f"the TLS handshake failed: {_words(error)}"
            await self._last_alert()
            return False
        self._tls = tls
        attempt.certificate = tls.getpeercert(binary_form=True) or b""
        attempt.protocol = tls.version() or ""
        cipher = tls.cipher()
        attempt.bits = cipher[2] if cipher else 0
        return True

    async def _last_alert(self) -> None:
        with suppress(OSError):  # it has gone already
            await self._flush()

    async def _fetch(self) -> None:
        data = await self._read()
        if data:
            self._from_peer.write(data)
        else:
            self._from_peer.write_eof()

    async def _read(self) -> bytes:
        data = await self._loop.sock_recv(self._sock, _PIECE)
        self._raw += len(data)
        if self._raw > _MOST_RAW:
            raise OSError(f"the server sent more than {_MOST_RAW // 1024} KiB")
        return data

    async def _flush(self) -> None:
        if self._to_peer.pending:
            await self._loop.sock_sendall(self._sock, self._to_peer.read())


def _words(error: Exception) -> str:
    """Describe an error of the system, or of OpenSSL without the line of its source."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the server closed the connection"
    if isinstance(error, ssl.SSLError) and error.reason:
        return excerpt(error.reason.lower().replace("_", " "))
    return excerpt(getattr(error, "strerror", None) or str(error) or type(error).__name__)
