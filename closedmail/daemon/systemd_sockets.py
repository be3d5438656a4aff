"""Take the sockets that systemd has opened for this process, sd_listen_fds(3)."""

import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

from closedmail.core.where import Where
from closedmail.errors import ClosedmailError

_FIRST = 3  # SD_LISTEN_FDS_START
_MOST = 1024  # more than any unit has
_UNNAMED = "unknown"  # as sd_listen_fds_with_names(3) has it


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A listening socket, its address (`where`), and the name that its unit gave it, mostly that of the unit."""

    socket: socket.socket
    where: str
    unit: str


def take_sockets(environment: MutableMapping[str, str]) -> list[HandedOver]:
    """Take the sockets that were handed over to this very process.

    Their variables are taken out of the environment: they are not for children.
    Raises ClosedmailError for what is no listening stream socket.
    """
    pid, number = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not number:
        return []
    if not (number.isascii() and number.isdigit() and int(number) <= _MOST):
        raise ClosedmailError(f"LISTEN_FDS: found {number!r}; it is the number of sockets that systemd hands over")
    found = []
    for at in range(int(number)):
        unit = names[at] if at < len(names) and names[at] else _UNNAMED
        found.append(_take(_FIRST + at, unit))
    return found


def where_of(listener: socket.socket) -> str:
    """Return WHERE of a socket, with the port that it really has; an abstract name (unix(7)) begins with @."""
    address = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        name = os.fsdecode(address)
        return f"unix:@{name[1:]}" if name.startswith("\0") else f"unix:{name}"
    return str(Where(host=address[0], port=address[1]))


def _take(descriptor: int, unit: str) -> HandedOver:
    try:
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        usable = (
            listener.family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
            and listener.type == socket.SOCK_STREAM
            and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
    except OSError as error:
        raise ClosedmailError(f"{unit}: file {descriptor} that it hands over can't be used: {error.strerror}") from None
    if not usable:
        raise ClosedmailError(
            f"{unit}: file {descriptor} that it hands over is no listening stream socket; "
            "write ListenStream= and Accept=no in the unit"
        )
    listener.setblocking(False)
    return HandedOver(listener, where_of(listener), unit)
