"""Ask a daemon on this machine one question."""

import socket
from contextlib import closing

_PATIENCE = 5.0  # seconds


def ask(where: str, question: bytes, most: int, farewell: bytes = b"") -> bytes:
    """Send a question to a WHERE and return at most `most` bytes of the answer; b"" where none comes in time.

    `farewell` is said after the answer. Raises PermissionError where this user may not connect.
    """
    kind, _, rest = where.partition(":")
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET6 if rest.startswith("[") else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as connection:
        connection.settimeout(_PATIENCE)
        try:
            if kind == "unix":
                connection.connect(rest)
            else:
                host, _, port = rest.rpartition(":")
                connection.connect((host.strip("[]"), int(port)))
            connection.sendall(question)
            answer = connection.recv(most)
            if farewell:
                connection.sendall(farewell)
        except PermissionError:
            raise
        except (OSError, ValueError, OverflowError):
            return b""
        return answer
