"""`closedmail sync` of a signed list, beside awk and two postmaps that make the same maps of it unchecked."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench_common import Cost, ListShape, closedmail, configuration, run
from support.keys import Signer

_MIB = 1 << 20
# The aims by the number of lines: cost beside awk and postmap, and MiB of memory.
_AIMS = {100_000: (8, 256), 1_000_000: (6, 700)}
_AWK = """
BEGIN { FS = "\t" }
{ hop = substr($2, index($2, ":") + 1); print $1 "\tsmtp:" hop > transport; hops[hop] }
END { for (hop in hops) print hop "\tencrypt" > policy }
"""
_MASTER_CF = """smtp unix - - n - - smtp
closedmail-ndb unix - - n - - smtp -o smtp_tls_policy_maps={map_type}:{state}/postfix/tls_policy-ndb
"""


def bench_sync(work: Path, shape: ListShape, rounds: int, map_type: str) -> None:
    """Measure and print."""
    for command in ("gpg", "awk", "postmap", "postconf"):
        if not shutil.which(command):
            raise SystemExit(f"scripts/bench: sync needs {command}: apt-get install gnupg mawk postfix")
    folder = work / f"sync-{shape.lines}"
    folder.mkdir()
    map_type = map_type or _default_map_type()
    bench = _Bench(folder, shape, map_type)
    order = "shuffled" if shape.shuffled else "in order"
    print(f"Sync: {shape.lines} lines {order}, {shape.nexthops} nexthops, map type {map_type}, ", end="")
    print(f"medians of {rounds} alternating rounds")
    try:
        taken = [bench.round() for _ in range(rounds)]
    finally:
        bench.signer.stop()
    _print(taken, shape.lines)
    shutil.rmtree(folder)


class _Bench:
    """A list in two editions, signed; a configuration; and what is run in each round."""

    def __init__(self, folder: Path, shape: ListShape, map_type: str) -> None:
        self._folder, self._map_type = folder, map_type
        self._etc, self._state, self._source = folder / "etc", folder / "state", folder / "list.asc"
        self._config = folder / "closedmail.toml"
        self._etc.mkdir()
        (self._etc / "main.cf").write_text("compatibility_level = 3.6\n")
        (self._etc / "master.cf").write_text(_MASTER_CF.format(map_type=map_type, state=self._state))
        self.signer = Signer(folder / "gnupg", "Bench <bench@example.org>")
        self._plain = folder / "list"
        self._editions = []
        for name, rerouted in (("one", -1), ("two", shape.lines // 2)):
            shape.write(self._plain, rerouted)
            signed = folder / name
            signed.write_bytes(self.signer.clearsign(self._plain.read_bytes()))
            self._editions.append(signed)
        key = folder / "key.asc"
        key.write_bytes(self.signer.public())
        self._config.write_text(
            configuration(
                self._state,
                self._source,
                more=f'key_file = "{key}"\nsigning_keys = ["{self.signer.fingerprint}"]',
                postfix=f"""
[postfix]
map_dir = "{self._state}/postfix"
map_type = "{map_type}"
config_directory = "{self._etc}"
""",
            )
        )

    def round(self) -> dict[str, Cost]:
        """The cost of each, by name; the yardstick comes first."""
        yardstick = self._yardstick()
        if self._state.exists():
            shutil.rmtree(self._state)
        first = self._sync(self._editions[0])
        changed = self._sync(self._editions[1])
        unchanged = run(closedmail(self._config, "sync"))
        return {
            "awk and two postmaps": yardstick,
            "first publication": first,
            "one line changed": changed,
            "unchanged": unchanged,
        }

    def _sync(self, edition: Path) -> Cost:
        shutil.copyfile(edition, self._source)
        return run(closedmail(self._config, "sync"))

    def _yardstick(self) -> Cost:
        maps = self._folder / "maps"
        maps.mkdir()
        transport, policy = maps / "transport", maps / "tls_policy"
        values = ["-v", f"transport={transport}", "-v", f"policy={policy}"]
        cost = run(["awk", *values, _AWK, str(self._plain)])
        for path in (transport, policy):
            cost += run(["postmap", "-c", str(self._etc), f"{self._map_type}:{path}"])
        shutil.rmtree(maps)
        return cost


def _default_map_type() -> str:
    """Find the map type that sync would use without `map_type`."""
    # Without a main.cf of its own, Postfix's built-in default.
    for option in ("-h", "-dh"):
        done = subprocess.run(
            ["postconf", option, "default_database_type"],  # noqa: S607, found by PATH
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    raise SystemExit("scripts/bench: postconf does not say default_database_type; give --map-type")


def _print(taken: Sequence[dict[str, Cost]], lines: int) -> None:
    ratio_aim, memory_aim = _AIMS.get(lines, ("-", "-"))
    print(f"\n  {'':24}{'wall s':>8}{'user s':>8}{'sys s':>8}{'wall':>8}{'CPU':>8}{'aim':>6}", end="")
    print(f"{'MiB own':>10}{'child':>8}{'aim':>6}")
    yardstick = next(iter(taken[0]))
    for name in taken[0]:
        costs = [cost[name] for cost in taken]
        wall, user, system = (median(getattr(cost, what) for cost in costs) for what in ("wall", "user", "system"))
        print(f"  {name:24}{wall:8.2f}{user:8.2f}{system:8.2f}", end="")
        if name == yardstick:
            print()
            continue
        walls = median(cost[name].wall / cost[yardstick].wall for cost in taken)
        cpus = median(cost[name].cpu / cost[yardstick].cpu for cost in taken)
        own, child = (max(getattr(cost, what) for cost in costs) // _MIB for what in ("own_memory", "child_memory"))
        print(f"{walls:8.2f}{cpus:8.2f}{ratio_aim:>6}{own:10}{child:8}{memory_aim:>6}")
    print()
