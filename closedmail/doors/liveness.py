"""Whether a daemon still does its work, asked as an MTA would ask, within so many seconds."""

import asyncio
import socket
import struct
from contextlib import suppress

from closedmail.config.places import split_where
from closedmail.doors.policy_connection import PolicyConnections

# Nobody's business, but nothing is decided before the policy store was looked at.
_QUESTION = b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=\n\n"

# The first packet of an MTA, of Sendmail 8.14 and later (version 6 with all actions and steps), and the last one.
# Source: libmilter's mfdef.h and comm.c.
NEGOTIATE = struct.pack("!IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)
QUIT = struct.pack("!Ic", 1, b"Q")


async def policy_answers(connections: PolicyConnections, seconds: float) -> bool:
    """Whether a request gets an answer, or its connection is closed for a reason, on a socket that only we know."""
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(seconds):
            ours, theirs = socket.socketpair()
            with ours:
                ours.setblocking(False)
                theirs.setblocking(False)
                await loop.connect_accepted_socket(connections, theirs)
                await loop.sock_sendall(ours, _QUESTION)
                await loop.sock_recv(ours, 1)
                return True
    return False


async def milter_answers(where: str, seconds: float) -> bool:
    """Whether libmilter negotiates with who connects to WHERE."""
    place = split_where(where)
    with suppress(TimeoutError, OSError, EOFError):
        async with asyncio.timeout(seconds):
            if place.path:
                reader, writer = await asyncio.open_unix_connection(place.path)
            else:
                reader, writer = await asyncio.open_connection(place.host, place.port)
            try:
                writer.write(NEGOTIATE)
                answer = await reader.readexactly(5)
                writer.write(QUIT)
                return answer[4:] == b"O"
            finally:
                writer.close()
    return False
