"""See from main.cf whether Postfix asks the table that refuses unusual spellings of recipients' domains."""

from closedmail.core.model import Config, PostfixMaps
from closedmail.maps.unusual_spellings import TABLE
from closedmail.mta.postconf import read_values, run_postfix
from closedmail.mta.restrictions import split_list
from closedmail.programs import ProgramError


def lacks_guard(transport_maps: str, maps: PostfixMaps) -> bool:
    """Check whether `transport_maps` names closedmail's routes, and not the table that belongs beside them.

    A Postfix that is not connected yet names neither, which is doctor's to say.
    """
    folder = maps.map_dir.rstrip("/")
    paths = {item.removeprefix("proxy:").partition(":")[2] for item in split_list(transport_maps)}
    return f"{folder}/transport" in paths and f"{folder}/{TABLE}" not in paths


def read_lacks_guard(config: Config) -> bool:
    """Ask the installed Postfix; False where there is none, or it can't be asked."""
    if config.postfix is None:
        return False
    try:
        text = run_postfix("postconf", "-c", config.postfix.config_directory, "-x", "transport_maps")
    except ProgramError:
        return False
    return lacks_guard(read_values(text).get("transport_maps", ""), config.postfix)


def guard_sentence(config: Config) -> str:
    """Say what is open without the table, and what to run."""
    return (
        f"transport_maps does not name {TABLE}: mail to a partner spelled in an unusual way (a decomposed umlaut, a "
        f"soft hyphen) leaves by the public MX; run: {config.command('setup')}"
    )
