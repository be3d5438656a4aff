"""Open listening sockets for WHERE, with mode and group set before anybody can connect, and remove them again."""

import errno
import grp
import os
import socket
import stat
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from closedmail.core.where import Where, parse_where
from closedmail.daemon.systemd_sockets import where_of
from closedmail.errors import ClosedmailError, ConfigError

BACKLOG = 1024  # Postfix's smtpd processes all connect at once after a restart


def parse_listen(text: str) -> Where:
    """Parse a `--listen` value. Raises ConfigError."""
    try:
        return parse_where(text)
    except ValueError as error:
        raise ConfigError("--listen", str(error)) from None


@dataclass(slots=True)
class Listener:
    """Bound sockets of one WHERE (one for each address of a host), and a UNIX socket's name with its inode."""

    sockets: list[socket.socket]
    path: Path | None = None
    inode: int = 0

    def close(self) -> None:
        """Stop listening, and remove the name while it is still ours."""
        for each in self.sockets:
            each.close()
        if self.path:
            with suppress(OSError):
                if self.path.stat().st_ino == self.inode:
                    self.path.unlink()

    def set_access(self, mode: int, group: str) -> None:
        """Change mode and group of a UNIX socket that stays open. Raises ClosedmailError."""
        if self.path:
            try:
                if self.path.stat().st_ino != self.inode:
                    raise ClosedmailError(f"{self.path}: the socket there is another process's; stop one of the two")
                set_access(self.path, mode, group)
            except OSError as error:
                raise ClosedmailError(f"{self.path}: can't set mode and group: {error.strerror}") from None

    def names(self) -> list[str]:
        """List WHERE of each socket, with the port that it really has."""
        if self.path:
            return [f"unix:{self.path}"]
        return [where_of(each) for each in self.sockets]


def open_listener(
    where: Where, mode: int, group: str, table: str = "policyd", besides: Collection[str] = ()
) -> Listener:
    """Bind the sockets of a WHERE; the UNIX ones do not listen yet. Raises ClosedmailError.

    `mode` and `group` ("" to leave it) are for UNIX sockets; `table` is that of the configuration which has them.
    `besides` are addresses that are open already, as `where_of` names them: there are no sockets for those.
    """
    try:
        if where.path:
            if f"unix:{where.path}" in besides:
                return Listener([])
            path = Path(where.path)
            return Listener([_unix_socket(path, mode, group, table)], path, path.stat().st_ino)
        return Listener(_inet_sockets(where.host, where.port, besides))
    except OSError as error:
        name = where.path or f"{where.host}:{where.port}"
        near = [each for each in besides if error.errno == errno.EADDRINUSE and each.endswith(f":{where.port}")]
        hint = f"; systemd has opened {near[0]}, write the same address in both places" if near else ""
        raise ClosedmailError(f"can't listen on {name}: {error.strerror or error}{hint}") from None


def _unix_socket(path: Path, mode: int, group: str, table: str) -> socket.socket:
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)  # whatever the umask: Postfix has to get through
    if path.is_socket():
        if not _is_stale(path):
            raise ClosedmailError(f"can't listen on {path}: another process does; stop it first")
        path.unlink()  # left by a process that was killed
    elif path.exists():
        raise ClosedmailError(f"can't listen on {path}: what is there is no socket; move it away")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    try:
        set_access(path, mode, group, table)
    except (OSError, ClosedmailError):
        listener.close()
        path.unlink()
        raise
    return listener


def set_access(path: Path, mode: int, group: str, table: str = "policyd") -> None:
    """Set mode and group of a UNIX socket. Raises OSError, and ConfigError where there is no such group."""
    if group:
        try:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        except KeyError:
            raise ConfigError(
                f"{table}.socket_group", f"there is no group {group!r}; make it or name another"
            ) from None
    path.chmod(mode)


def has_access(path: Path, mode: int, group: str) -> bool:
    """Check whether a UNIX socket has that mode and that group ("": any). Raises OSError."""
    found = path.stat()
    try:
        return stat.S_IMODE(found.st_mode) == mode and (not group or grp.getgrnam(group).gr_gid == found.st_gid)
    except KeyError:
        return False


def _is_stale(path: Path) -> bool:
    """Check whether nobody listens there. Any other failure to connect, such as a full queue, means a listener."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(1)
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False
        return False


def _inet_sockets(host: str, port: int, besides: Collection[str]) -> list[socket.socket]:
    listeners = []
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in dict.fromkeys(found):
        if str(Where(host=str(address[0]), port=int(address[1]))) in besides:
            continue
        listener = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        listeners.append(listener)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(BACKLOG)  # here, as it is listen(2) that finds an overlap with another one of ours
        except OSError:
            for each in listeners:
                each.close()
            raise
    return listeners
