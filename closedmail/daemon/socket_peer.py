"""Find the user whose process is at the other end of a connection, and whether it can be a daemon of ours.

Any user may listen on a TCP port while our daemon does not, and give its answers. What it can't have is our user.
"""

import ipaddress
import pwd
import socket
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from closedmail.daemon.counters_file import POLICYD

# The connections of this network namespace: proc_net_tcp.rst in the kernel's documentation.
_TABLES = ("/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6")
_ESTABLISHED, _LISTEN = 1, 10

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104, a listener there takes what comes to any address

End = tuple[str, int]  # the address and port of an end of a TCP connection


def peer_user(connection: socket.socket) -> int | None:
    """Return the number of the user whose process has accepted a connection, or listens there.

    None where that is no process of this machine, or none of this network namespace. Raises OSError where it has hung
    up, and is not known.
    """
    if connection.family == socket.AF_UNIX:
        size = struct.calcsize("3i")
        return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])
    ours, theirs = connection.getsockname()[:2], connection.getpeername()[:2]
    lines: list[str] = []
    for table in _TABLES:
        with suppress(FileNotFoundError):  # no IPv6
            lines += Path(table).read_text(encoding="ascii").splitlines()[1:]
    user = find_user(lines, theirs, ours)
    if user is None and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED:
        raise ConnectionResetError("the other end has hung up")
    return user


def find_user(lines: Iterable[str], local: End, remote: End, byteorder: str = sys.byteorder) -> int | None:
    """Find the user at the `local` end of a connection in the lines of the kernel's table, else who listens there.

    None where neither is in there. A connection that its process has closed counts for nothing: the kernel gives it to
    root.
    """
    here, there = _plain(local), _plain(remote)
    listener = None
    for line in lines:
        fields = line.split()
        found, state = _end(fields[1], byteorder), int(fields[3], 16)
        if state == _ESTABLISHED and (found, _end(fields[2], byteorder)) == (here, there):
            return int(fields[7])
        if state == _LISTEN and found in (here, *((each, here[1]) for each in _EVERYWHERE)):
            listener = int(fields[7])
    return listener


def stranger(user: int | None, state_dir: str) -> str:
    """Name a user who can't be that of our daemons, "" for one who may be.

    That is root, and the owner of the state directory or of the counters in it, which a daemon has to write.
    """
    folder = Path(state_dir)
    try:
        ours = {0, folder.stat().st_uid}
    except OSError:
        return ""  # nothing was ever in force
    with suppress(OSError):
        ours.add((folder / POLICYD).parent.stat().st_uid)
    if user is None or user in ours:
        return ""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"number {user}"


def impostor_sentence(where: str, user: str, daemon: str) -> str:
    """Say that a stranger listens in the place of a daemon."""
    return (
        f"a process of the user {user} listens on {where} in the place of {daemon}, and decides which mail passes: "
        f"end it (ss -ltnp shows it), and start {daemon}"
    )


def _plain(end: End) -> End:
    """Spell an IPv4-mapped address as its IPv4 address, and an IPv6 one without its zone."""
    address = ipaddress.ip_address(end[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address), end[1]


def _end(text: str, byteorder: str) -> End:
    """Parse `0100007F:1F90`: 32-bit words in the order of this machine's bytes, and a port."""
    address, _, port = text.partition(":")
    words = bytes.fromhex(address)
    if byteorder == "little":
        words = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    return _plain((str(ipaddress.ip_address(words)), int(port, 16)))
