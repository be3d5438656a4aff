"""Health check of the milter: whether libmilter answers within so many seconds, asked as an MTA would ask."""

import asyncio
import struct
from contextlib import suppress

from closedmail.core.where import parse_where

# The first packet of an MTA, of Sendmail 8.14 and later (version 6 with all actions and steps), and the last one.
# Source: libmilter's mfdef.h and comm.c.
NEGOTIATE = struct.pack("!IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)
QUIT = struct.pack("!Ic", 1, b"Q")


async def milter_answers(where: str, seconds: float) -> bool:
    """Whether libmilter negotiates with who connects to WHERE."""
    place = parse_where(where)
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
