"""The sockets of a daemon while it runs: opened and closed as its configuration asks, all of them or none."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from closedmail.config.places import split_where
from closedmail.doors.listener import BACKLOG, Listener, open_listener
from closedmail.errors import ClosedmailError

Place = tuple[str, str]  # what is served there, and WHERE
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
    """Nothing is open at first. WHEREs are checked ones."""

    def __init__(self) -> None:
        self._open: dict[Place, _Served] = {}

    async def change(self, wanted: Mapping[Place, Factory], mode: int, group: str) -> None:
        """Open what is new, close what is no longer wanted. Raises ClosedmailError, and then all is as before.

        `mode` and `group` are for UNIX sockets.
        """
        loop = asyncio.get_running_loop()
        opened: dict[Place, Listener] = {}
        try:
            for place in wanted:
                if place not in self._open:
                    opened[place] = open_listener(split_where(place[1]), mode, group)
            for place in wanted:
                if place in self._open:
                    self._open[place].listener.set_access(mode, group)
        except ClosedmailError:
            for listener in opened.values():
                listener.close()
            raise
        for place, listener in opened.items():
            servers = [await loop.create_server(wanted[place], sock=each, backlog=BACKLOG) for each in listener.sockets]
            self._open[place] = _Served(listener, servers)
        for place in [place for place in self._open if place not in wanted]:
            self._open.pop(place).close()

    def names(self, kind: str) -> list[str]:
        """WHERE of each socket of that kind, with the port that it really has."""
        return [name for (served, _), item in self._open.items() if served == kind for name in item.listener.names()]

    def close(self) -> None:
        """Accept nobody any more."""
        while self._open:
            self._open.popitem()[1].close()
