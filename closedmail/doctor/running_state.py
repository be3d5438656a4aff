"""The running state of a gateway: what is in force, what systemd runs, how old lists and keys are."""

from contextlib import suppress
from pathlib import Path

from closedmail.core.model import Config
from closedmail.doctor.checks.running import TIMER, Running, UnitState
from closedmail.doctor.finding import Severity
from closedmail.errors import StoreError
from closedmail.lists.fetch_log import FetchRecord, read_log
from closedmail.programs import ProgramError, run
from closedmail.status.problems import Findings
from closedmail.status.status import judge_age, judge_keys
from closedmail.store.environment import store_path
from closedmail.store.snapshot import Snapshot, StoreReader

_POLICYD = ("closedmail-policyd.socket", "closedmail-policyd.service")
_CRONTABS = ("/etc/crontab", "/etc/cron.d", "/etc/cron.hourly", "/var/spool/cron/crontabs")
_TIME_LIMIT = 30  # seconds


def look_at_running(config: Config, now: int, snapshot: Snapshot | None, trouble: str) -> Running:
    """All of it; `trouble` says why there is no `snapshot`."""
    units = {unit: unit_state(unit) for unit in (TIMER, *_POLICYD)}
    policyd_unit = next((unit for unit in _POLICYD if units[unit] in ("on", "off")), _POLICYD[1])
    ages, keys = _lists(config, now, snapshot)
    return Running(
        generation=snapshot.generation if snapshot else 0,
        trouble=trouble,
        timer=units[TIMER],
        cron=_in_crontab(),
        policyd=units[policyd_unit],
        policyd_unit=policyd_unit,
        ages=ages,
        keys=keys,
    )


def read_store(config: Config) -> tuple[StoreReader, Snapshot | None, str]:
    """The store (to be closed), what is in force, and why nothing is."""
    store = StoreReader(store_path(config.gateway.state_dir))
    try:
        return store, store.current(), ""
    except StoreError as error:
        return store, None, str(error)


def unit_state(unit: str) -> UnitState:
    """What systemd says of a unit: "on" where it is active and comes back after a boot."""
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


def _in_crontab() -> bool:
    """Whether any crontab runs `closedmail … sync`."""
    for name in _CRONTABS:
        path = Path(name)
        with suppress(OSError):
            for file in path.iterdir() if path.is_dir() else (path,):
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
                if any("closedmail" in line and "sync" in line and not line.lstrip().startswith("#") for line in lines):
                    return True
    return False


def _lists(
    config: Config, now: int, snapshot: Snapshot | None
) -> tuple[tuple[tuple[Severity, str], ...], tuple[tuple[Severity, str], ...]]:
    """What `status` would say of ages and of keys."""
    log = read_log(Path(config.gateway.state_dir))
    standing = {item.name: item for item in snapshot.manifest.lists} if snapshot else {}
    ages: list[tuple[Severity, str]] = []
    keys: list[tuple[Severity, str]] = []
    for network in config.networks:
        if not network.source:
            continue
        known, record = standing.get(network.name), log.get(network.name, FetchRecord())
        if snapshot:  # else there is nothing yet to be old
            age = Findings()
            judge_age(age, network.source, known, record, now)
            ages += _sentences(network.name, age)
        if network.source.signature != "none":
            key = Findings()
            judge_keys(key, network.source, known.signer if known else "", now)
            keys += _sentences(network.name, key)
    return tuple(ages), tuple(keys)


def _sentences(network: str, findings: Findings) -> list[tuple[Severity, str]]:
    severity: Severity = "error" if findings.state == "critical" else "warning"
    return [(severity, f"{network}: {problem}") for problem in findings.problems]
