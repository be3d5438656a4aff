"""Ask an installed Postfix: run its commands, and read its parameters and services through postconf(1)."""

import re
from pathlib import Path
from typing import NamedTuple

from closedmail.errors import ClosedmailError
from closedmail.mta.postfix_config import PostfixConfig, Service
from closedmail.programs import ProgramError, run

_TIME_LIMIT = 30  # seconds
# Services whose own settings matter; all others see main.cf's.
_INSPECTED = ("smtpd", "cleanup", "smtp", "lmtp", "trivial-rewrite")
_CHROOT_BY_DEFAULT = 1  # below this compatibility_level, "-" in master.cf means yes


class MasterEntry(NamedTuple):
    """A service of master.cf, with the fields of master(5) that matter here, as written there."""

    name: str
    type: str
    chroot: str
    command: str
    arguments: tuple[str, ...]
    fields: tuple[str, ...] = ()


def read_services(config_directory: str) -> list[MasterEntry]:
    """Read master.cf through `postconf -M`, one line a service. Raises ProgramError."""
    found = []
    for line in run_postfix("postconf", "-c", config_directory, "-M").splitlines():
        fields = line.split()
        if len(fields) >= 8:  # else postconf has complained of it
            found.append(MasterEntry(fields[0], fields[1], fields[4], fields[7], tuple(fields[8:]), tuple(fields[2:7])))
    return found


def read_values(text: str) -> dict[str, str]:
    """Parse the output of postconf: lines of `name = value`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_options(text: str) -> dict[str, dict[str, str]]:
    """Parse the output of postconf -P, the -o settings of master.cf, by `name/type` of the service.

    Its lines are `name/type/parameter = value`.
    """
    found: dict[str, dict[str, str]] = {}
    for name, value in read_values(text).items():
        service, _, parameter = name.rpartition("/")
        found.setdefault(service, {})[parameter] = value
    return found


def run_postfix(*command: str, stdin: Path | None = None, stdout: Path | None = None) -> str:
    """Run a Postfix command and return what it prints (nothing where that goes to a file).

    Raises ProgramError when it fails, does not end or is missing, and OSError where a file can't be opened.
    """
    ended = run(
        command,
        time_limit=_TIME_LIMIT * (20 if stdin or stdout else 4),
        stdin=stdin or b"",
        stdout=stdout,
        package="Postfix",
        # postmap -q exits 1 when a key was not found, which the caller sees from the output.
        accepted=(0, 1) if stdout else (0,),
    )
    if ended.status and ended.stderr:
        raise ended.error()
    return ended.stdout.decode("utf-8", "replace")


def inspect_postfix(config_directory: str) -> PostfixConfig:
    """Read all that postconf shows. Raises ClosedmailError."""
    try:
        main = read_values(run_postfix("postconf", "-c", config_directory, "-x"))
        raw = read_values(run_postfix("postconf", "-c", config_directory, "-n"))
        entries = read_services(config_directory)
        options = read_options(run_postfix("postconf", "-c", config_directory, "-P"))
        services = tuple(_service(entry, options, main, config_directory) for entry in entries)
    except ProgramError as error:
        raise ClosedmailError(f"{error}: see config_directory of [postfix]") from None
    raw.pop("config_directory", None)  # of -c, not of the file
    return PostfixConfig(parse_version(main.get("mail_version", "")), main, raw, services, config_directory)


def _service(
    entry: MasterEntry, options: dict[str, dict[str, str]], main: dict[str, str], config_directory: str
) -> Service:
    own = options.get(f"{entry.name}/{entry.type}", {})
    level = parse_version(main.get("compatibility_level", "0"))
    chrooted = entry.chroot == "y" or (entry.chroot == "-" and (not level or level[0] < _CHROOT_BY_DEFAULT))
    values = main
    if own and entry.command in _INSPECTED:
        arguments = [argument for item, value in own.items() for argument in ("-o", f"{item}={value}")]
        values = read_values(run_postfix("postconf", "-c", config_directory, "-x", *arguments))
    return Service(entry.name, entry.type, chrooted, entry.command, own, values, entry.fields)


def parse_version(text: str) -> tuple[int, ...]:
    """Parse `3.7.11` into numbers, as far as they go: `3.11-20260101` (a snapshot) is 3.11."""
    numbers = []
    for part in text.split("."):
        digits = re.match(r"[0-9]+", part)
        if digits:
            numbers.append(int(digits[0]))
        if not digits or digits[0] != part:
            break
    return tuple(numbers)
