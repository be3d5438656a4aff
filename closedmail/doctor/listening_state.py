"""Find the surroundings of the daemons' TCP sockets on this machine: who can log in, and whom the units let in."""

import pwd
from ipaddress import ip_network
from pathlib import Path

from closedmail.core.model import Config
from closedmail.doctor.checks.listening import Listening, tcp_sockets
from closedmail.programs import ProgramError, run

_TIME_LIMIT = 30  # seconds
_FIRST_UID, _LAST_UID = 1000, 60000  # of people's accounts (login.defs(5), as Debian has it)
_NO_SHELLS = ("nologin", "false", "sync")


def look_at_listening(config: Config) -> Listening:
    """Find them, where the configuration has such sockets."""
    sockets = tcp_sockets(config)
    if not sockets:
        return Listening()
    units = {each.unit for each in sockets if not each.is_local}
    return Listening(_users(), frozenset(unit for unit in units if _is_closed(unit)))


def _users() -> tuple[str, ...]:
    people = (user for user in pwd.getpwall() if _FIRST_UID <= user.pw_uid <= _LAST_UID)
    return tuple(sorted(user.pw_name for user in people if Path(user.pw_shell).name not in _NO_SHELLS))


def _is_closed(unit: str) -> bool:
    """Check whether systemd lets a unit talk with this machine alone."""
    if not Path("/run/systemd/system").is_dir():
        return False
    try:
        done = run(["systemctl", "show", "--property=IPAddressDeny,IPAddressAllow", unit], time_limit=_TIME_LIMIT)
    except ProgramError:
        return False
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    found = {name: value.split() for name, _, value in (line.partition("=") for line in lines)}
    try:
        allowed = [ip_network(each) for each in found.get("IPAddressAllow", ())]
    except ValueError:
        return False
    return bool(found.get("IPAddressDeny")) and all(each.is_loopback for each in allowed)
