"""Open one run under the lock: the state directory, the policy store in it, and what is in force."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail.core.model import Config
from closedmail.errors import ClosedmailError, StoreError
from closedmail.files import fresh_folder, remove_tree
from closedmail.lists.fetch_log import FetchRecord, read_log
from closedmail.mta.map_types import TRANSPORT
from closedmail.publish.built_maps import remove_leftovers
from closedmail.publish.sendmail_maps import MAILERTABLE
from closedmail.store.environment import NOTHING_YET, RUN_SYNC, open_environment, store_path
from closedmail.store.manifest import ListInForce, Manifest
from closedmail.store.snapshot import Snapshot
from closedmail.sync.inputs import Inputs
from closedmail.sync.lock import prepare_state_dir, sync_lock
from closedmail.sync.network_list import NetworkList
from closedmail.sync.rules import archived_rules


class LockedRun:
    """A run under the lock, with what it finds.

    `file` is the configuration as the file has it, `snapshot` and `manifest` are of what is in force when the run
    begins (None: nothing), `log` is the fetch log, `work` an empty folder, `now` Unix time. A dry run writes nothing
    into `state_dir`.
    """

    def __init__(self, file: Config, state_dir: Path, stack: ExitStack, now: int, *, dry_run: bool) -> None:
        """Open the store; `stack` closes it again. Raises StoreError."""
        self.file, self.state_dir, self.now, self.dry_run = file, state_dir, now, dry_run
        aside = Path(stack.enter_context(TemporaryDirectory(prefix="closedmail-"))) if dry_run else state_dir
        self.work = fresh_folder(aside / "work")
        stack.callback(remove_tree, self.work)
        for maps in (file.postfix, file.sendmail):
            if maps and not dry_run:
                remove_leftovers(Path(maps.map_dir))
        self.store_path = store_path(str(state_dir))
        self.log = read_log(state_dir)
        remake = not dry_run and _nothing_published(file, state_dir, self.log)
        self.environment = open_environment(self.store_path, remake=remake)
        stack.callback(self.environment.close)
        self.snapshot: Snapshot | None = None
        if self.environment.stat()["entries"]:
            self.snapshot = stack.enter_context(Snapshot(self.environment, self.store_path))
        self.manifest: Manifest | None = self.snapshot.manifest if self.snapshot else None

    def in_force(self) -> tuple[Snapshot, Manifest]:
        """Return the generation in force. Raises StoreError where there is none."""
        if self.snapshot is None:
            raise StoreError(f"{self.store_path}: {NOTHING_YET}", RUN_SYNC)
        return self.snapshot, self.snapshot.manifest

    def rules_in_force(self) -> Config:
        """Return the rules of the generation in force, with paths and sources of the file. Raises ClosedmailError."""
        snapshot, manifest = self.in_force()
        archived = snapshot.archived(manifest.generation)
        if archived is None:
            raise StoreError(f"{self.store_path}: generation {manifest.generation} is not kept", RUN_SYNC)
        return archived_rules(archived, self.file, manifest.generation)

    def lists(self, inputs: Inputs, in_force: dict[str, ListInForce] | None = None) -> list[NetworkList]:
        """Return the networks' lists, none of them read; `in_force` replaces the lists in force, by name."""
        if in_force is None:
            in_force = {item.name: item for item in self.manifest.lists} if self.manifest else {}
        former = self.manifest.former if self.manifest else {}
        return [
            NetworkList(
                network,
                self.state_dir,
                in_force.get(network.name),
                self.log.setdefault(network.name, FetchRecord()),
                inputs.key_digests[network.name],
                former.get(network.name, 0),
                self.file.command("sync", "--network", network.name, "--force"),
            )
            for network in inputs.config.networks
        ]

    @property
    def latest(self) -> int:
        """The second at which the generation in force was published: the clock never was before that."""
        return self.snapshot.manifest.published_at if self.snapshot else 0

    def signed_until(self, name: str, latest: int) -> int:
        """Return the newest signing time of a network's lists, up to `latest`, in the generations that are kept."""
        if self.snapshot is None:
            return 0
        kept = filter(None, (self.snapshot.archived(number) for number, _ in self.snapshot.history()))
        times = (item.signed_at for archived in kept for item in archived.lists if item.name == name)
        return max((time for time in times if time <= latest), default=0)

    def tidy(self) -> None:
        """Remove the texts of lists that no generation kept is made of: it was forgotten, or never came to be."""
        wanted: set[str] = set()
        with suppress(StoreError), Snapshot(self.environment, self.store_path) as current:
            for _, line in current.history():
                wanted.update(line["texts"])
        folder = self.state_dir / "lists"
        for path in folder.iterdir() if wanted and folder.exists() else ():
            if path.name not in wanted:
                with suppress(OSError):  # what is in force does not need it, and what stays here does no harm
                    path.unlink()


def _nothing_published(file: Config, state_dir: Path, log: Mapping[str, FetchRecord]) -> bool:
    """Tell whether no run can have put a generation in force: all that came to their end were refused, and there are no
    routes, which come last in a switch.
    """
    ended = (state_dir / "sync.json").exists()
    refused = bool(log) and all(item.result in ("", "refused") and not item.digest for item in log.values())
    routes = [
        Path(maps.map_dir) / name for maps, name in ((file.postfix, TRANSPORT), (file.sendmail, MAILERTABLE)) if maps
    ]
    return (refused or not ended) and not any(path.exists() for path in routes)


@contextmanager
def locked_run(file: Config, now: int | None = None, *, dry_run: bool = False) -> Iterator[LockedRun]:
    """Take the lock and open the store. `now` is the clock's by default.

    Raises Refused(busy), and ClosedmailError for a state directory that can't be used, also while the run lasts.
    """
    with ExitStack() as stack:
        state_dir = Path(file.gateway.state_dir)
        if dry_run and not store_path(file.gateway.state_dir).exists():
            # Nothing is in force and nothing may be made: the whole run happens elsewhere.
            state_dir = Path(stack.enter_context(TemporaryDirectory(prefix="closedmail-")))
        prepare_state_dir(state_dir)
        stack.enter_context(sync_lock(state_dir))
        seconds = int(time.time()) if now is None else now
        try:
            yield LockedRun(file, state_dir, stack, seconds, dry_run=dry_run)
        except OSError as error:
            raise ClosedmailError(f"{error.filename or state_dir}: {error.strerror or error}") from None
