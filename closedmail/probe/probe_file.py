"""Keep the results of the last probe for `report`: `probe.json` in the state directory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from closedmail.files import folder_owner, read_json, replace_file
from closedmail.probe.probe_result import HostResult

_FILE = "probe.json"
_LONGEST = 256 << 20  # bytes; 100,000 hosts are some 80 MB


@dataclass(frozen=True, slots=True)
class KeptProbe:
    """Results, and when all hosts were probed last ("": never; each result has its own time)."""

    probed_at: str
    results: tuple[HostResult, ...]


def read_probe(state_dir: Path) -> KeptProbe | None:
    """Read what was kept; None where there is nothing readable: the next probe writes it again."""
    try:
        data = read_json(state_dir / _FILE, _LONGEST)
        if not isinstance(data["probed_at"], str):
            return None
        return KeptProbe(data["probed_at"], tuple(map(HostResult.from_json, data["hosts"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keep_probe(state_dir: Path, results: Sequence[HostResult], probed_at: str) -> None:
    """Save results in place of the last ones; those of some hosts only (`probed_at` is "") replace just those hosts'.

    Raises OSError.
    """
    if not probed_at:
        before = read_probe(state_dir)
        nexthops = {(result.nexthop, result.transport) for result in results}
        if before:
            probed_at = before.probed_at
            others = [item for item in before.results if (item.nexthop, item.transport) not in nexthops]
            results = sorted([*others, *results], key=lambda result: result.key)
    path = state_dir / _FILE
    data = {"probed_at": probed_at, "hosts": [result.to_json() for result in results]}
    replace_file(path, [json.dumps(data, indent=1).encode()], 0o640, folder_owner(path))
