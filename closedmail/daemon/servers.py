"""Manage the sockets of a running daemon: opened and closed as its configuration demands, all of them or none.

Those that systemd has handed over are served from start to end: it keeps them open, and a client of one
that nobody serves would wait in vain.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from closedmail.core.where import parse_where
from closedmail.daemon.listener import BACKLOG, Listener, has_access, open_listener
from closedmail.daemon.systemd_sockets import HandedOver
from closedmail.errors import ClosedmailError

ListenKey = tuple[str, str]  # what is served, and WHERE
Factory = Callable[[], asyncio.BaseProtocol]


@dataclass(frozen=True, slots=True)
class _Served:
    listener: Listener
    servers: list[asyncio.Server]

    def close(self) -> None:
        for server in self.servers:
            server.close()
        self.listener.close()


class Servers:
    """Sockets by what is served on them. At first only those handed over are open, unserved. WHEREs are checked."""

    def __init__(self, handed_over: Sequence[HandedOver] = ()) -> None:
        self.handed_over = {each.where: each for each in handed_over}
        self._open: dict[ListenKey, _Served] = {}
        self._standing: dict[str, list[asyncio.Server]] = {}  # by what is served, on what was handed over

    async def change(self, wanted: Mapping[ListenKey, Factory], mode: int, group: str) -> None:
        """Open what is new and was not handed over, close what is no longer wanted.

        Raises ClosedmailError, and then all is as before. `mode` and `group` are for UNIX sockets.
        """
        loop = asyncio.get_running_loop()
        opened: dict[ListenKey, Listener] = {}
        try:
            for key in wanted:
                if key not in self._open:
                    opened[key] = open_listener(parse_where(key[1]), mode, group, besides=self.handed_over)
            for key in wanted:
                if key in self._open:
                    self._open[key].listener.set_access(mode, group)
        except ClosedmailError:
            for listener in opened.values():
                listener.close()
            raise
        for key, listener in opened.items():
            servers = [await loop.create_server(wanted[key], sock=each, backlog=BACKLOG) for each in listener.sockets]
            self._open[key] = _Served(listener, servers)
        for key in [key for key in self._open if key not in wanted]:
            self._open.pop(key).close()

    async def serve_handed_over(self, kind: str, factory: Factory) -> None:
        """Serve all that was handed over, until `close`."""
        loop, backlog = asyncio.get_running_loop(), max(BACKLOG, socket.SOMAXCONN)  # not less than systemd's own
        self._standing[kind] = [
            await loop.create_server(factory, sock=each.socket, backlog=backlog) for each in self.handed_over.values()
        ]

    def unlike(self, wanted: Sequence[str], mode: int, group: str) -> list[HandedOver]:
        """List the wanted UNIX sockets that were handed over with another mode or group."""
        found = []
        for each in (self.handed_over[where] for where in wanted if where in self.handed_over):
            path = parse_where(each.where).path
            with suppress(OSError):
                if path and not has_access(Path(path), mode, group):
                    found.append(each)
        return found

    def names(self, kind: str) -> list[str]:
        """List WHERE of each socket of that kind, with the port that it really has; those handed over come first."""
        own = [name for (served, _), item in self._open.items() if served == kind for name in item.listener.names()]
        return [*self.handed_over, *own] if kind in self._standing else own

    def close(self) -> None:
        """Stop accepting. Clients of a socket of systemd's wait there for our successor."""
        for server in (server for servers in self._standing.values() for server in servers):
            server.close()
        self._standing.clear()
        while self._open:
            self._open.popitem()[1].close()
