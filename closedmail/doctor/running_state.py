"""Find the running state of a gateway: what is in force, what systemd runs, how old lists and keys are."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from closedmail.config.readable import Unreadable, find_unreadable
from closedmail.core.model import Config
from closedmail.doctor.checks.running import TIMER, Running
from closedmail.doctor.finding import Fix
from closedmail.doctor.systemd_unit import UnitState, start_fix
from closedmail.errors import ClosedmailError, ServiceUserError, StoreError
from closedmail.lists.fetch_log import FetchRecord, read_log
from closedmail.maps.own_rows import OwnRows
from closedmail.mta.asked_tables import AskedTables, answers_about
from closedmail.mta.lookup_chain import LookupChain
from closedmail.mta.own_tables import find_own_rows
from closedmail.owner import Ask, ask_as_owner, call_as_owner
from closedmail.programs import ProgramError, run
from closedmail.status.list_state import judge_age, judge_keys
from closedmail.status.problems import Problem, Problems
from closedmail.store.environment import store_path
from closedmail.store.snapshot import Snapshot, StoreReader

_POLICYD = ("closedmail-policyd.socket", "closedmail-policyd.service")
_CRONTABS = ("/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/var/spool/cron/crontabs")
_TIME_LIMIT = 30  # seconds


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """What doctor needs to know of the state directory. `generation` is 0 for none, then `trouble` says why.

    `unreadable` and `unable` are those of `Running`, `keys` those of the list in force; `ages` and `key_problems` what
    status finds.
    """

    generation: int = 0
    trouble: str = ""
    unreadable: Unreadable | None = None
    unable: str = ""
    keys: frozenset[str] = frozenset()
    ages: tuple[Problem, ...] = ()
    key_problems: tuple[Problem, ...] = ()


def look_at_running(state: StateDirectory) -> Running:
    """Look at what runs, beside what was read."""
    return Running(
        generation=state.generation,
        trouble=state.trouble,
        unreadable=state.unreadable,
        unable=state.unable,
        timer=unit_state(TIMER),
        cron=_in_crontab(),
        ages=state.ages,
        keys=state.key_problems,
    )


def read_state(config: Config, now: int) -> StateDirectory:
    """Read the state directory, as its owner. What is wrong raises nothing."""
    try:
        found = call_as_owner(Path(config.gateway.state_dir), lambda: _read_state(config, now))
    except ServiceUserError as error:
        return StateDirectory(unable=str(error))
    except (ClosedmailError, OSError) as error:
        if isinstance(error, ClosedmailError):
            error.closedmail = config.command()
        return StateDirectory(trouble=str(error))
    return StateDirectory(
        found["generation"],
        found["trouble"],
        Unreadable(**found["unreadable"]) if found["unreadable"] else None,
        keys=frozenset(found["keys"]),
        ages=tuple(Problem(**item) for item in found["ages"]),
        key_problems=tuple(Problem(**item) for item in found["key_problems"]),
    )


def _read_state(config: Config, now: int) -> dict[str, Any]:
    with StoreReader(store_path(config.gateway.state_dir), config.command()) as store:
        snapshot, trouble, names = None, "", list[str]()
        try:
            snapshot = store.current()
            names = [key for key, _ in snapshot.records()]
        except StoreError as error:
            snapshot, trouble = None, str(error)
        ages, keys = _lists(config, now, snapshot)
        unreadable = find_unreadable(Path(config.path))
        return {
            "generation": snapshot.generation if snapshot else 0,
            "trouble": trouble,
            "unreadable": asdict(unreadable) if unreadable else None,
            "keys": names,
            "ages": [asdict(item) for item in ages],
            "key_problems": [asdict(item) for item in keys],
        }


def read_rows_in_front(config: Config, chain: LookupChain, directory: str) -> OwnRows:
    """Find the rows of the administrator's own tables in front of those in force. `directory` is Postfix's."""

    def look(ask: Ask) -> dict[str, Any]:
        with StoreReader(store_path(config.gateway.state_dir)) as store:
            return find_own_rows(chain, AskedTables(ask), store.current()).to_json()

    try:
        return OwnRows.from_json(ask_as_owner(Path(config.gateway.state_dir), look, answers_about(chain, directory)))
    except (StoreError, KeyError, TypeError, ValueError):  # which another finding tells
        return OwnRows()


def unit_state(unit: str) -> UnitState:
    """Ask systemd for the state of a unit."""
    if not Path("/run/systemd/system").is_dir():
        return ""
    command = ["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", unit]
    try:
        done = run(command, time_limit=_TIME_LIMIT)
    except ProgramError:
        return ""
    found = dict(line.split("=", 1) for line in done.stdout.decode("utf-8", "replace").splitlines() if "=" in line)
    if not found:
        return ""
    if found.get("LoadState") != "loaded":
        return "missing"
    active = found.get("ActiveState") in ("active", "activating", "reloading")
    return "on" if active and found.get("UnitFileState") not in ("disabled", "masked") else "off"


def start_policyd() -> Fix | None:
    """Find the command that starts policyd, None where systemd does not run it."""
    units = {unit: unit_state(unit) for unit in _POLICYD}
    unit = next((unit for unit in _POLICYD if units[unit] in ("on", "off")), _POLICYD[1])
    return start_fix(unit, units[unit], _POLICYD[1])


def _in_crontab() -> bool:
    """Check whether any crontab runs `closedmail … sync`."""
    for name in _CRONTABS:
        path = Path(name)
        with suppress(OSError):
            for file in path.iterdir() if path.is_dir() else (path,):
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
                if any("closedmail" in line and "sync" in line and not line.lstrip().startswith("#") for line in lines):
                    return True
    return False


def _lists(config: Config, now: int, snapshot: Snapshot | None) -> tuple[list[Problem], list[Problem]]:
    """Return the problems that `status` finds with the lists' ages, and with their keys."""
    log = read_log(Path(config.gateway.state_dir))
    in_force = {item.name: item for item in snapshot.manifest.lists} if snapshot else {}
    ages: list[Problem] = []
    keys: list[Problem] = []
    for network in config.networks:
        if not network.source:
            continue
        known, record = in_force.get(network.name), log.get(network.name, FetchRecord())
        if snapshot:  # else there is nothing yet to be old
            age = Problems(network.name)
            judge_age(age, config, network.source, known, record, now)
            ages += age
        if network.source.signature != "none":
            key = Problems(network.name)
            judge_keys(key, network.source, known.signer if known else "", now)
            keys += key
    return ages, keys
