"""Run posttls-finger(1), Postfix's own probe, to look up the TLSA records of a host, in bounded time and length."""

import asyncio
import os
import shutil
import signal
from contextlib import suppress

from closedmail.mta.client_settings import ClientSettings

_NAME = "posttls-finger"
_MOST = 64 * 1024  # bytes; an honest host needs two or three KiB


def find_posttls_finger() -> str | None:
    """Find the program. Debian keeps it in /usr/sbin, which is not in every user's PATH."""
    return shutil.which(_NAME, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


async def ask_posttls_finger(
    program: str, host: str, port: int, settings: ClientSettings, config_directory: str, patience: float
) -> str:
    """Run it for `[host]:port`, and give its output. The caller bounds the whole by a time limit; `patience`, in
    seconds, is for each of its waits. Raises OSError where it can't be started.

    At level dane-only it prints more about missing records than at dane, and looks up the same.
    """
    where = f"[ipv6:{host}]:{port}" if ":" in host else f"[{host}]:{port}"
    wait = str(max(1, int(patience)))
    command = [program, "-c", "-l", "dane-only", "-L", "verbose,summary", "-t", wait, "-T", wait]
    command += ["-o", f"myhostname={settings.helo}", "-o", f"inet_protocols={settings.families}"]
    command += [*(["-w"] if settings.wrapped else []), *_certificates(settings), where]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "MAIL_CONFIG": config_directory},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # a group of its own, to be ended as a whole
    )
    said, output = b"", process.stdout
    try:
        while output and len(said) < _MOST and (piece := await output.read(_MOST - len(said))):
            said += piece
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()  # to the end of the pipe, or asyncio closes it when its loop is gone
    return said.decode("utf-8", "backslashreplace")


def _certificates(settings: ClientSettings) -> list[str]:
    """The options for our certificate, where it can be read: a server that demands one breaks off without it."""
    readable = [pair for pair in settings.chains if all(os.access(file, os.R_OK) for file in pair)]
    if not readable:
        return []
    certificate, key = readable[0]
    return ["-H", certificate] if certificate == key else ["-k", certificate, "-K", key]
