"""Check the milter's health: negotiate as an MTA would, within so many seconds."""

import asyncio
import struct
from contextlib import suppress

from closedmail.core.where import parse_where

# The first packet of an MTA, of Sendmail 8.14 and later (version 6 with all actions and steps), and the last one.
# Source: libmilter's mfdef.h and comm.c.
NEGOTIATE = struct.pack("!IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)
QUIT = struct.pack("!Ic", 1, b"Q")


async def milter_answers(where: str, seconds: float) -> bool:
    """Check whether libmilter negotiates with a client of WHERE in time."""
    target = parse_where(where)
    with suppress(TimeoutError, OSError, EOFError):
        async with asyncio.timeout(seconds):
            if target.path:
                reader, writer = await asyncio.open_unix_connection(target.path)
            else:
                reader, writer = await asyncio.open_connection(target.host, target.port)
            try:
                writer.write(NEGOTIATE)
                answer = await reader.readexactly(5)
                writer.write(QUIT)
                return answer[4:] == b"O"
            finally:
                writer.close()
    return False
