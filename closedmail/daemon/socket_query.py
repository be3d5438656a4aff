"""Ask a daemon on this machine one question, and find whose process answers."""

import socket
from contextlib import closing, suppress
from dataclasses import dataclass

from closedmail.core.where import parse_where
from closedmail.daemon.socket_peer import peer_user

_PATIENCE = 5.0  # seconds
# A mail without a sender concerns no partner, but only a generation in force can answer so.
_POLICY_QUESTION = (
    b"request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=SMTP\nsender=\nrecipient=\n"
    b"client_address=127.0.0.1\ninstance=doctor\n\n"
)


@dataclass(frozen=True, slots=True)
class SocketAnswer:
    """An answer, b"" where none came in time, and the user whose process gave it, None where that is not known."""

    data: bytes = b""
    user: int | None = None


def ask(where: str, question: bytes, most: int, farewell: bytes = b"") -> SocketAnswer:
    """Send a question to a WHERE and take at most `most` bytes of the answer, from a daemon that stays on the line.

    `farewell` is said after the answer. Raises PermissionError where this user may not connect.
    """
    try:
        place = parse_where(where)
    except ValueError:
        return SocketAnswer()
    family = socket.AF_UNIX if place.path else socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(place.path or (place.host, place.port))
        except PermissionError:
            raise
        except OSError:
            return SocketAnswer()
        data = b""
        with suppress(OSError):
            connection.sendall(question)
            data = connection.recv(most)
        try:
            answer = SocketAnswer(data, peer_user(connection))
        except OSError:
            return SocketAnswer()
        with suppress(OSError):
            connection.sendall(farewell)
        return answer


def ask_policy_service(where: str) -> SocketAnswer:
    """Ask a policy service about a mail of nobody's. Raises PermissionError where this user may not connect."""
    return ask(where, _POLICY_QUESTION, 512)
