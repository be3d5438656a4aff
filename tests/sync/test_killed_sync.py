"""`sync` killed before and after each of its system calls that change a file, and at random instants, under watch.

Meanwhile readers look up all maps and ask the daemon without pause (`watching` in `support.killed_runs`). After every
kill (`victims`) an ordinary run has to complete, and to leave nothing behind (`killing`). That this test would show a
wrong switch is tested, too.
"""

import random
import signal
import subprocess
import sys
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

import pytest
from support.killed_runs.killing import Kills
from support.killed_runs.victims import traced
from support.killed_runs.watching import Violation
from support.network import Site

pytestmark = pytest.mark.real("strace", "postmap", "postconf", "gpg")

_AS_IN_THE_ISSUE = "rename,renameat2,unlink,fsync,fdatasync,write"
_INSTANTS = 200


def assert_watched(kills: Kills, times: int) -> None:
    """Each reader looked at least twice around each kill."""
    assert min(kills.watch.looks.values()) >= 2 * times, kills.watch.looks


def test_strace_kills_before_the_call(tmp_path: Path) -> None:
    """So that what is killed before each call of a run is killed after each, too."""
    code = "import os, sys; sys.stdin.readline(); [os.mkdir(name) for name in 'abc']"
    process = subprocess.Popen([sys.executable, "-I", "-B", "-c", code], cwd=tmp_path, stdin=subprocess.PIPE)
    with traced(process.pid, "mkdir,rename", "-einject=mkdir,rename:signal=KILL:when=2"):
        process.communicate(b"\n")
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_killed_before_and_after_each_call(site: Site) -> None:
    with Kills(site) as kills:
        found = kills.before_each()
        assert_watched(kills, found.total())
        assert found.keys() == kills.run.calls().keys()
    assert found.keys() >= {"fdatasync", "fsync", "link", "mkdir", "pwrite64", "rename", "rmdir", "unlink", "write"}
    assert found["rename"] >= 8


def test_killed_and_the_list_taken_back(plain: Site) -> None:
    """So that the next run may have nothing to publish, and has to clear up all the same."""
    with Kills(plain) as kills:
        found = kills.before_each(("fchmod", "rename", "writev"), take_back=True)
        assert_watched(kills, found.total())


def test_killed_as_in_the_issue(plain: Site) -> None:
    """The set of calls as one, with all children: the first process that makes one of them for the N-th time."""
    with Kills(plain) as kills:
        ends = (kills.cycle(partial(kills.run.literally, _AS_IN_THE_ISSUE, nth)) for nth in count(1))
        statuses = [*iter(ends.__next__, 0)]
        assert_watched(kills, len(statuses))
    assert statuses.count(-signal.SIGKILL) > 5


def test_a_child_is_killed_before_each_call(site: Site) -> None:
    """gpg or postmap, in turn alone, which the run has to notice, and together with the run."""
    with Kills(site) as kills:
        kills.cycle(kills.run.note_child_calls)
        places = kills.run.child_calls("gpg", "postmap")
        assert len({place.run for place in places if place.program == "postmap"}) == 5
        for at, place in enumerate(places):
            alone = at % 2 == 0
            status = kills.cycle(partial(kills.run.with_child, place, alone=alone))
            assert (status == -signal.SIGKILL) is not alone
        assert_watched(kills, len(places))


def test_killed_at_random_instants(plain: Site) -> None:
    """The run alone: what it has started goes on, and may still be at work when the next run begins."""
    chance = random.Random(11)  # noqa: S311  repeatable
    with Kills(plain) as kills:
        span = median(kills.duration() for _ in range(5))
        killed = 0
        while killed < _INSTANTS:
            assert kills.number < 5 * _INSTANTS
            killed += kills.cycle(partial(kills.run.at, chance.uniform(0, span))) == -signal.SIGKILL
        assert_watched(kills, _INSTANTS)


# --- that it would show --------------------------------------------------------------------------------------------

_SWITCH = """
import dataclasses
from closedmail.sync import publication
real = publication.switch
def switch(state_dir, maps, commit):
    {body}
publication.switch = switch
"""
_TRANSPORT_FIRST = (
    "maps = [dataclasses.replace(built, demands=built.routes, routes=built.demands) for built in maps];"
    "real(state_dir, maps, commit)"
)
_IN_PLACE = """
from pathlib import Path
real = Path.replace
def replace(self, target):
    if not self.parent.name.startswith(".closedmail-build"):
        return real(self, target)
    Path(target).write_bytes(self.read_bytes())
    self.unlink()
Path.replace = replace
"""
# What is done wrong, the call before which a run is killed (from which time on: near the switch), and what shows.
FAULTS = {
    "routes before their TLS policy": (_SWITCH.format(body=_TRANSPORT_FIRST), "rename", 4, "the TLS row of .* is None"),
    "no row lingers": (
        "from closedmail.sync import publication\npublication.linger = lambda *_: {}",
        "rename",
        5,
        "the TLS row of .* is None",
    ),
    "the store after the routes": (
        _SWITCH.format(body="real(state_dir, maps, lambda: None); commit()"),
        "writev",
        1,
        "not in this order",
    ),
    "the store before the TLS policy": (
        _SWITCH.format(body="commit(); real(state_dir, maps, lambda: None)"),
        "rename",
        3,
        "not in this order",
    ),
    "maps written in place": (_IN_PLACE, "write", 6, "texts|postmap"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_switch_is_seen(plain: Site, fault: str) -> None:
    patch, call, first, shown = FAULTS[fault]
    with pytest.raises(Violation, match=shown), Kills(plain, patch) as kills:
        kills.before_each([call], first)
