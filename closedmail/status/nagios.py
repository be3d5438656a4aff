"""Render `closedmail status --nagios`: one line with performance data, for Nagios, Icinga and others with plugins.

Source: Monitoring Plugins Development Guidelines (plugin output, performance data, thresholds, return codes).
"""

from collections.abc import Iterable, Iterator

from closedmail.status.list_state import KEY_WARNING, usable_keys
from closedmail.status.problems import STATES, State
from closedmail.status.status import Status
from closedmail.words import counted, iso, one_line

UNKNOWN = 3
# Bytes. Nagios reads 4 or 8 KiB of a plugin, by its version; NRPE has packets of 1 or 64 KiB.
_MOST_TEXT, _MOST_PERFDATA = 1024, 3000
_DAY = 86400


def plugin_status(state: State) -> int:
    """Return the plugin's exit status: 0 OK, 1 WARNING, 2 CRITICAL."""
    return STATES.index(state)


def plugin_line(status: Status, now: int) -> str:
    """Render the status in one line. `now` is Unix time."""
    perfdata = _fitting(_perfdata(status, now))
    return f"CLOSEDMAIL {status.state.upper()} - {_text(_summary(status))}" + (f" | {perfdata}" if perfdata else "")


def unknown_line(reason: str) -> str:
    """Render the line for an unknown state, with the reason; UNKNOWN is the exit status then."""
    return f"CLOSEDMAIL UNKNOWN - {_text(reason)}"


def _summary(status: Status) -> str:
    """Describe what is wrong, the worst first; where nothing is, what is in force."""
    found = sorted(status.found, key=lambda problem: -STATES.index(problem.severity))
    if found:
        return "; ".join(map(str, found))
    networks = [f"{name}: {counted(item.domains, 'domain')}" for name, item in status.networks.items()]
    return ", ".join((f"generation {status.generation} of {iso(status.published_at)} is in force", *networks))


def _text(text: str) -> str:
    """Make one short line of what may be foreign text: `|` would begin the performance data."""
    line = one_line(text).replace("|", "/")
    data = line.encode("utf-8", "replace")
    if len(data) <= _MOST_TEXT:
        return line
    return data[: _MOST_TEXT - 3].decode("utf-8", "ignore") + "..."


def _perfdata(status: Status, now: int) -> Iterator[str]:
    """Render 'label'=value[unit];warn;crit;min;max. Labels begin with the network's name, which has no quotes."""
    if status.generation is not None:
        yield _item("generation_age", f"{max(0, now - status.published_at)}s", least="0")
        yield _item("held", str(len(status.held)), warn="0", least="0")  # partners without a network
    for name, item in status.networks.items():
        yield _item(f"{name}_domains", str(item.domains), least="0")
        yield _item(f"{name}_held", str(len(item.held)), warn="0", least="0")
        if item.age is not None:
            yield _item(f"{name}_age", f"{item.age}s", warn=_limit(item.max_age), least="0")
        if item.fetched_at:
            since = max(0, now - item.fetched_at)
            yield _item(f"{name}_fetch_age", f"{since}s", crit=_limit(item.fetch_max_age), least="0")
        ends = [key.expires_at for key in usable_keys(item.keys) if key.expires_at is not None]
        if ends:
            # "N:" alarms below N.
            yield _item(f"{name}_key_days", str((min(ends) - now) // _DAY), warn=f"{KEY_WARNING // _DAY}:", crit="0:")
    for name, counts in status.traffic.networks.items() if status.traffic else ():
        for verdict in ("accept", "report", "defer", "reject"):
            yield _item(f"{name}_{verdict}", f"{counts.total[verdict]}c", least="0")


def _item(label: str, value: str, *, warn: str = "", crit: str = "", least: str = "") -> str:
    return f"'{label}'={value};{warn};{crit};{least}".rstrip(";")


def _limit(seconds: int | None) -> str:
    return "" if seconds is None else str(seconds)


def _fitting(items: Iterable[str]) -> str:
    """Join as many items as fit, none of them cut."""
    kept, size = [], 0
    for item in items:
        size += len(item) + 1
        if size > _MOST_PERFDATA:
            break
        kept.append(item)
    return " ".join(kept)
