"""Read a Postfix's parameters, services and their own settings, through postconf(1)."""

from closedmail.errors import ClosedmailError
from closedmail.mta.postfix_config import PostfixConfig, Service
from closedmail.mta.postfix_settings import MasterEntry, read_options, read_services, read_values, run_postfix
from closedmail.programs import ProgramError

# Services whose own settings matter; all others see main.cf's.
_INSPECTED = ("smtpd", "cleanup", "smtp", "lmtp", "trivial-rewrite")
_CHROOT_BY_DEFAULT = 1  # below this compatibility_level, "-" in master.cf means yes


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
    return PostfixConfig(_version(main.get("mail_version", "")), main, raw, services, config_directory)


def _service(
    entry: MasterEntry, options: dict[str, dict[str, str]], main: dict[str, str], config_directory: str
) -> Service:
    own = options.get(f"{entry.name}/{entry.type}", {})
    level = _version(main.get("compatibility_level", "0"))
    chrooted = entry.chroot == "y" or (entry.chroot == "-" and (not level or level[0] < _CHROOT_BY_DEFAULT))
    values = main
    if own and entry.command in _INSPECTED:
        arguments = [argument for item, value in own.items() for argument in ("-o", f"{item}={value}")]
        values = read_values(run_postfix("postconf", "-c", config_directory, "-x", *arguments))
    return Service(entry.name, entry.type, chrooted, entry.command, own, values, entry.fields)


def _version(text: str) -> tuple[int, ...]:
    """Parse `3.7.11` into numbers, as far as they go."""
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
