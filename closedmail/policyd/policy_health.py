"""Check the policy daemon's health: send a request as an MTA would, and wait so many seconds for the answer."""

import asyncio
import socket
from contextlib import suppress

from closedmail.policyd.policy_connection import PolicyConnections

# It concerns no partner, but is only decided after the policy store was read.
_QUESTION = b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=\n\n"


async def policy_answers(connections: PolicyConnections, seconds: float) -> bool:
    """Check whether a request gets an answer, or its connection is closed for a reason, on a socket of our own."""
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
