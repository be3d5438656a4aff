"""The least that answers policy requests with asyncio: what closedmail's daemon is measured against.

Usage: bench_responder.py SOCKET. It looks for the empty line and writes `action=DUNNO`; it reads nothing of a request.

Two thirds of its time go where those of every such program go: for each read asyncio makes an object of 256 KiB, for
which the C library asks the kernel for memory, and gives it back. It does so until an object of that size was once
given back whole (M_MMAP_THRESHOLD in mallopt(3)), as when a connection was closed by the client: from then on the
memory is kept, and the responder takes a third of the time. So does one that Python had to compile first.
"""

import asyncio
import signal
import sys


class _Responder(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101, what create_unix_server gives
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        end = buffer.find(b"\n\n")
        while end >= 0:
            self._transport.write(b"action=DUNNO\n\n")
            buffer = buffer[end + 2 :]
            end = buffer.find(b"\n\n")
        self._buffer = buffer


async def _serve(path: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.get_running_loop().create_unix_server(_Responder, path)
    async with server:
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
