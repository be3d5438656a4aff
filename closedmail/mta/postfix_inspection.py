"""Asking a Postfix what it is: parameters, services and their own settings, through postconf(1)."""

from closedmail.errors import ClosedmailError
from closedmail.mta.postfix_facts import PostfixFacts, Service
from closedmail.mta.postfix_settings import read_options, read_values, run_postfix
from closedmail.programs import ProgramError

# Services whose own settings matter; all others see main.cf's.
_INSPECTED = ("smtpd", "cleanup", "smtp", "lmtp")
_CHROOT_BY_DEFAULT = 1  # below this compatibility_level, "-" in master.cf means yes


def inspect_postfix(config_directory: str) -> PostfixFacts:
    """All that postconf says. Raises ClosedmailError."""
    try:
        main = read_values(run_postfix("postconf", "-c", config_directory, "-x"))
        raw = read_values(run_postfix("postconf", "-c", config_directory, "-n"))
        table = run_postfix("postconf", "-c", config_directory, "-M").splitlines()
        options = read_options(run_postfix("postconf", "-c", config_directory, "-P"))
        services = tuple(
            _service(line, options, main, config_directory) for line in table if len(line.split(None, 8)) >= 8
        )
    except ProgramError as error:
        raise ClosedmailError(f"{error}: see config_directory of [postfix]") from None
    raw.pop("config_directory", None)  # of -c, not of the file
    return PostfixFacts(_version(main.get("mail_version", "")), main, raw, services, config_directory)


def _service(line: str, options: dict[str, dict[str, str]], main: dict[str, str], config_directory: str) -> Service:
    name, kind, _private, _unprivileged, chroot, _wakeup, _limit, command = line.split(None, 8)[:8]
    own = options.get(f"{name}/{kind}", {})
    level = _version(main.get("compatibility_level", "0"))
    chrooted = chroot == "y" or (chroot == "-" and (not level or level[0] < _CHROOT_BY_DEFAULT))
    values = main
    if own and command in _INSPECTED:
        arguments = [argument for item, value in own.items() for argument in ("-o", f"{item}={value}")]
        values = read_values(run_postfix("postconf", "-c", config_directory, "-x", *arguments))
    return Service(name, kind, chrooted, command, own, values)


def _version(text: str) -> tuple[int, ...]:
    """`3.7.11` as numbers, as far as they go."""
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
