"""Ask a daemon on this machine one question."""

import socket
from contextlib import closing

from closedmail.core.where import parse_where

_PATIENCE = 5.0  # seconds


def ask(where: str, question: bytes, most: int, farewell: bytes = b"") -> bytes:
    """Send a question to a WHERE and return at most `most` bytes of the answer; b"" where none comes in time.

    `farewell` is said after the answer. Raises PermissionError where this user may not connect.
    """
    try:
        place = parse_where(where)
    except ValueError:
        return b""
    family = socket.AF_UNIX if place.path else socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(place.path or (place.host, place.port))
            connection.sendall(question)
            answer = connection.recv(most)
            if farewell:
                connection.sendall(farewell)
        except PermissionError:
            raise
        except OSError:
            return b""
        return answer
