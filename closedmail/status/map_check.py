"""Check whether the maps that the MTAs read are still those of the generation in force."""

import time
from collections.abc import Iterator
from pathlib import Path

from closedmail.core.model import Config
from closedmail.publish.built_maps import map_faults
from closedmail.publish.switch import interrupted
from closedmail.store.manifest import Manifest
from closedmail.store.snapshot import StoreReader

# Seconds. A sync that switches meanwhile has renamed some files and not the others: wait for its end.
_PATIENCE, _PAUSE = 3.0, 0.1


def map_problems(config: Config, store: StoreReader) -> list[str]:
    """Return a sentence for each map that is missing or not the one that `sync` made; all of them are critical.

    Call it before anything else is read of the store: a generation that comes meanwhile ends older snapshots. Raises
    StoreError.
    """
    deadline = time.monotonic() + _PATIENCE
    state_dir = Path(config.gateway.state_dir)
    known: tuple[list[dict[str, list[int]]], list[str]] | None = None
    while True:
        manifest = store.current().manifest
        # Before and after: one that ends, or begins, during the check leaves no mark at the other time.
        switching = interrupted(state_dir)
        problems = list(_problems(config, manifest))
        switching = switching or interrupted(state_dir)
        found = [manifest.maps, manifest.sendmail_maps], problems
        if not problems or (found == known and not switching) or time.monotonic() > deadline:
            return problems
        known = found
        time.sleep(_PAUSE)


def _problems(config: Config, manifest: Manifest) -> Iterator[str]:
    remedy = f"mail to partners may take another way; run: {config.command('sync')}"
    for mta, maps, identities in (
        ("Postfix", config.postfix, manifest.maps),
        ("Sendmail", config.sendmail, manifest.sendmail_maps),
    ):
        if maps is None:
            continue
        if not identities:
            yield f"{mta}'s maps are not made yet: {remedy}"
        faults = map_faults(Path(maps.map_dir), identities)
        if faults:
            more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
            yield f"{mta}'s map {faults[0]}{more}: {remedy}"
