"""Change and damage the policy store and the configuration while the daemon is asked."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench_common import closedmail
from soak_honest import Line
from soak_questions import question
from soak_shared import CLOSED, CONTEXT, Surroundings
from soak_world import EDITIONS, OF, Edition, World
from support.recorded import altered, recorded


class Site:
    """A folder with lists, configuration and state directory, and how to make a generation there."""

    def __init__(self, folder: Path, world: World) -> None:
        """Nothing is in force yet."""
        self.folder, self.world = folder, world
        self.store = folder / "state" / "store"
        self.config = folder / "closedmail.toml"
        # How often the store was disturbed, and cut: in turn, also across the parts of a soak, for none to be left out.
        self.turns, self.cuts = CONTEXT.RawValue("L", 0), CONTEXT.RawValue("L", 0)
        self._listen = f'"unix:{folder}/policy.sock", "inet:127.0.0.1:0"'

    def sync(self, edition: Edition) -> None:
        """Put an edition in force. Raises SystemExit when that fails."""
        self.world.write(self.folder, edition, self._listen)
        done = subprocess.run(closedmail(self.config, "sync"), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"closedmail sync failed: {done.stdout}{done.stderr}")

    def keep(self, edition: Edition) -> None:
        """Keep a copy of the store's data."""
        shutil.copyfile(self.store / "data.mdb", self.kept(edition))

    def kept(self, edition: Edition) -> Path:
        """The path of that copy."""
        return self.folder / f"kept-{edition}"


class Disturber:
    """Disturbs the store of a daemon that runs; at its end all is in order, and edition A in force."""

    def __init__(self, around: Surroundings, site: Site, daemon: int) -> None:
        """`daemon` is its pid; A is in force."""
        self._around, self._site, self._daemon = around, site, daemon
        self._edition: Edition = "A"
        self._data = site.store / "data.mdb"
        self._line = Line(around, 0)
        mail = altered(recorded()["plain-rcpt"], sender=f"u@{site.world.swinging}", client_address="192.0.2.1")
        self._mail = question(site.world, mail)

    def run(self) -> None:
        """Disturb until it is over."""
        ways: list[Callable[[], None]] = [
            *(self._publish, self._cut, self._vanish, self._lose_lock, self._restore, self._cut),
            *(self._unlink, self._publish, self._hang_up, self._spoil, self._break_configuration, self._copy),
        ]
        while not self._around.stop.is_set():
            ways[self._site.turns.value % len(ways)]()
            self._site.turns.value += 1
            self._ask()
            self._around.tally.add("disturbances")
            self._around.stop.wait(self._around.chance.random() / 4)
        if self._edition != "A":
            self._publish()
        self._line.close()

    def _ask(self) -> None:
        """See to it that somebody asks while this and nothing else is right, however busy the others are."""
        self._line.ask([(self._mail, b"disturber")])
        self._line.check()

    def _may(self, *, closed: bool = False, other: bool = False, now: bool = True) -> None:
        here, there = (OF[edition] for edition in sorted(EDITIONS, key=lambda each: each != self._edition))
        self._around.phases.change((here if now else 0) | (CLOSED if closed else 0) | (there if other else 0))

    def _unreadable(self, spoil: Callable[[], object], repair: Callable[[], object]) -> None:
        self._may(closed=True)
        spoil()
        self._may(closed=True, now=False)
        self._ask()
        self._around.stop.wait(self._around.chance.random() / 4)
        self._may(closed=True)
        repair()
        self._may()

    def _turn(self, change: Callable[[], object]) -> None:
        """Put the other edition in force."""
        self._may(other=True)
        change()
        self._edition = "B" if self._edition == "A" else "A"
        self._may()

    @property
    def _other(self) -> Edition:
        return "B" if self._edition == "A" else "A"

    def _publish(self) -> None:
        """Publish a new generation."""
        self._turn(lambda: self._site.sync(self._other))
        self._around.tally.add("syncs")

    def _vanish(self) -> None:
        """Take the whole store away for a while."""
        away = self._site.folder / "away"
        self._unreadable(lambda: self._site.store.rename(away), lambda: away.rename(self._site.store))

    def _unlink(self) -> None:
        """Take its data file away for a while."""
        away = self._site.folder / "away.mdb"
        self._unreadable(lambda: self._data.rename(away), lambda: away.rename(self._data))

    def _cut(self) -> None:
        """Cut the file short in place, at a page or elsewhere, then replace it by another."""
        size = self._data.stat().st_size
        sizes = (0, size // 2, 4096, size - 1, 1, 8192, size // 8192 * 4096)
        to = sizes[self._site.cuts.value % len(sizes)]
        self._site.cuts.value += 1
        aside = self._aside(self._data)
        self._unreadable(lambda: os.truncate(self._data, to), lambda: aside.replace(self._data))

    def _spoil(self) -> None:
        """Replace it by nonsense."""
        kept, nonsense = self._aside(self._data), self._site.folder / "nonsense"
        nonsense.write_bytes(self._around.chance.randbytes(self._around.chance.choice((0, 100, 8192, 1 << 20))))
        self._unreadable(lambda: nonsense.replace(self._data), lambda: kept.replace(self._data))

    def _copy(self) -> None:
        """Put the same data into another file."""
        self._aside(self._data).replace(self._data)

    def _restore(self) -> None:
        """Restore a backup of the other edition."""
        aside = self._aside(self._site.kept(self._other))
        self._turn(lambda: aside.replace(self._data))

    def _lose_lock(self) -> None:
        """LMDB's lock file is removed, and the next generation's writer makes a new one."""
        (self._site.store / "lock.mdb").unlink(missing_ok=True)
        self._publish()

    def _hang_up(self) -> None:
        """SIGHUP, several times."""
        for _ in range(self._around.chance.randrange(1, 4)):
            os.kill(self._daemon, signal.SIGHUP)

    def _break_configuration(self) -> None:
        """SIGHUP with a file that nobody can read."""
        text = self._site.config.read_bytes()
        self._site.config.write_bytes(text[: len(text) // 2] + b"\xff= [")
        os.kill(self._daemon, signal.SIGHUP)
        self._around.stop.wait(0.05)
        self._site.config.write_bytes(text)

    def _aside(self, source: Path) -> Path:
        aside = self._site.folder / "aside.mdb"
        shutil.copyfile(source, aside)
        return aside
