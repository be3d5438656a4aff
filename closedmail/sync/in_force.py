"""Find what is in force, for what is compared with it: by the policy store, or by the maps where these know more."""

from pathlib import Path

from closedmail.generation.difference import NothingInForce, Previous
from closedmail.generation.standing import Standing
from closedmail.maps.standing_rows import StandingRows
from closedmail.mta.map_types import TRANSPORT
from closedmail.publish.sendmail_maps import MAILERTABLE
from closedmail.publish.standing_maps import standing_rows
from closedmail.publish.switch import interrupted
from closedmail.sync.inputs import Inputs
from closedmail.sync.locked_run import LockedRun


class InForce:
    """What is in force as a run begins.

    `before` is what the next generation is compared with and made on top of. `unknown` tells whether the maps are of a
    generation that the store does not know. `number` is the newest generation that any of them knows, 0 for none:
    numbers only ever rise.
    """

    def __init__(self, run: LockedRun, inputs: Inputs) -> None:
        """Read the maps where the store is missing, is older, or is another one than theirs."""
        manifest = run.manifest
        store: Previous = run.snapshot or NothingInForce()
        generation, built = (manifest.generation, manifest.built_at or manifest.published_at) if manifest else (0, 0)
        known = (manifest.maps, manifest.sendmail_maps) if manifest else ({}, {})
        found: list[StandingRows] = []
        if run.file.postfix:
            table = Path(run.file.postfix.map_dir) / TRANSPORT
            found.append(standing_rows(table, known[0], generation, built))
        if run.file.sendmail:
            table = Path(run.file.sendmail.map_dir) / MAILERTABLE
            own = inputs.local_rows.mailertable
            found.append(standing_rows(table, known[1], generation, built, own))
        if manifest and interrupted(run.state_dir):
            # The store's own switch did not come to its end: an older table is the one that it has replaced.
            found = [item for item in found if item.generation > generation]
        rows = {key: service for item in reversed(found) for key, service in item.rows.items()}
        self.number = max((generation, *(item.generation for item in found)))
        self.unknown = any(item.generation for item in found)
        held = {key for item in found for key in item.held}
        self.before = Standing(store, rows, inputs.config, run.now, held) if rows else store
