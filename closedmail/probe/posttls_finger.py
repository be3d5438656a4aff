"""Run posttls-finger(1), Postfix's own probe, to look up the TLSA records of a host, in bounded time and length."""

import os

from closedmail.mta.client_settings import ClientSettings
from closedmail.programs import read_output

_MOST = 64 * 1024  # bytes; an honest host needs two or three KiB


async def ask_posttls_finger(
    program: str, host: str, port: int, settings: ClientSettings, config_directory: str, patience: float
) -> str:
    """Run posttls-finger for `[host]:port`, and return its output. Raises ProgramError where it can't be run.

    The caller bounds the whole by a time limit; `patience`, in seconds, is for each of its waits.

    At level dane-only it prints more about missing records than at dane, and looks up the same.
    """
    where = f"[ipv6:{host}]:{port}" if ":" in host else f"[{host}]:{port}"
    wait = str(max(1, int(patience)))
    command = [program, "-c", "-l", "dane-only", "-L", "verbose,summary", "-t", wait, "-T", wait]
    command += ["-o", f"myhostname={settings.helo}", "-o", f"inet_protocols={settings.families}"]
    command += [*(["-w"] if settings.wrapped else []), *_certificates(settings), where]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "MAIL_CONFIG": config_directory}
    return (await read_output(command, environment, _MOST, "Postfix")).decode("utf-8", "backslashreplace")


def _certificates(settings: ClientSettings) -> list[str]:
    """List the options for our certificate, where it can be read: a server that demands one breaks off without it."""
    readable = [pair for pair in settings.chains if all(os.access(file, os.R_OK) for file in pair)]
    if not readable:
        return []
    certificate, key = readable[0]
    return ["-H", certificate] if certificate == key else ["-k", certificate, "-K", key]
