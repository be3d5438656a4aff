"""What policyd counts: across restarts, in `status`, and where nothing can be saved."""

import asyncio
import json
import os
import shutil
import signal
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, closedmail_inside
from support.gateway import Gateway, make_gateway

from closedmail.daemon import counters_file
from closedmail.daemon.counters_file import CountersFile, read_counters
from closedmail.inbound.counters import MOST_NAMED

RIGHT, WRONG = "192.0.2.1", "192.0.2.9"
INSTANCES = count()


@pytest.fixture
def own(tmp_path: Path) -> Gateway:
    return make_gateway(tmp_path)


def saved(gateway: Gateway) -> Path:
    return gateway.state_dir / "counters" / "policyd.json"


def status(gateway: Gateway) -> Any:
    """The counters that `status` shows."""
    return closedmail_inside("status", "--json", config=gateway.config).json["counters"]


def ask(daemon: Daemon, *mails: tuple[str, str]) -> None:
    """Six requests for each mail, as Postfix makes them for five recipients; mails are a partner and a client."""
    with daemon.client() as client:
        for partner, address in mails:
            instance = f"{next(INSTANCES):x}.1"
            for _ in range(6):
                client.ask(sender=f"u@{partner}", client_address=address, instance=instance)


def test_counted_in_status_and_across_restarts(own: Gateway) -> None:
    """Each mail once for a verdict; what was counted before is counted on, since the same time."""
    assert status(own) is None
    with Daemon(own.config) as daemon:
        ask(daemon, ("koeln.example", RIGHT), ("koeln.example", WRONG), ("koeln.example", WRONG))
        ask(daemon, ("a.land.example", WRONG), ("b.land.example", WRONG), ("alone.example", RIGHT))
        ask(daemon, ("stranger.example", WRONG), ("city.example", WRONG))
        assert daemon.stop() == 0
    first = status(own)
    ndb = {
        "total": {"accept": 1, "reject": 4},
        "partners": {".land.example": {"reject": 2}, "koeln.example": {"accept": 1, "reject": 2}},
        "others": {},
    }
    alone = {"total": {"reject": 1}, "partners": {"alone.example": {"reject": 1}}, "others": {}}
    assert first["networks"] == {"-": alone, "ndb": ndb}
    with Daemon(own.config) as daemon:
        ask(daemon, ("koeln.example", RIGHT))
        daemon.reload()  # SIGHUP saves too
        second = status(own)
        assert second["networks"]["ndb"]["total"] == {"accept": 2, "reject": 4}
        assert second["since"] == first["since"] <= first["until"] <= second["until"]
    lines = closedmail_inside("status", config=own.config).stdout.splitlines()
    since, until = second["since"], second["until"]
    assert f"ndb: mails from {since} to {until}: 2 accept, 4 reject" in lines
    assert f"partners without a network: mails from {since} to {until}: 1 reject" in lines


def test_nothing_counted_nothing_written(own: Gateway) -> None:
    with Daemon(own.config) as daemon:
        ask(daemon, ("stranger.example", WRONG))
        daemon.reload()
        assert daemon.stop() == 0
    assert not saved(own).exists()


def test_saved_now_and_then(own: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread of its own, and only where something was counted."""
    monkeypatch.setattr(counters_file, "_EVERY", 0.001)
    said: list[str] = []

    async def keep() -> list[int]:
        file = CountersFile(str(own.state_dir), said.append)
        keeping = asyncio.create_task(file.keep())
        inodes = []
        for number in (1, 2):
            file.counters.count(("ndb", "koeln.example", "accept", "ok"))
            while (before := read_counters(own.state_dir)) is None or before.counters.mails < number:
                await asyncio.sleep(0.001)
            inodes.append(saved(own).stat().st_ino)
        for _ in range(20):
            await asyncio.sleep(0.001)
        inodes.append(saved(own).stat().st_ino)
        keeping.cancel()
        return inodes

    inodes = asyncio.run(keep())
    assert inodes[1] == inodes[2]
    assert said == []


def test_an_older_state_never_replaces_a_newer_one(own: Gateway) -> None:
    file = CountersFile(str(own.state_dir), print)
    file.counters.count(("ndb", "koeln.example", "accept", "ok"))
    older = file.counters.copy()
    file.counters.count(("ndb", "koeln.example", "accept", "ok"))
    file.save(file.counters)
    file.save(older)
    found = read_counters(own.state_dir)
    assert found is not None
    assert found.counters.mails == 2


ROW = '["ndb", "koeln.example", "accept", "ok", 1]'
BROKEN = {
    "empty": "",
    "cut short": '{"since": 1, "saved_at": 2, "counts": [',
    "not UTF-8": "\udcff",
    "a list": "[]",
    "a number": "7",
    "deep": "[" * 200_000,
    "no times": f'{{"counts": [{ROW}]}}',
    "a time that is a word": f'{{"since": "now", "saved_at": 2, "counts": [{ROW}]}}',
    "a time that never comes": f'{{"since": 1e99, "saved_at": 2, "counts": [{ROW}]}}',
    "a time beyond all years": f'{{"since": {1 << 60}, "saved_at": 2, "counts": [{ROW}]}}',
    "a short row": '{"since": 1, "saved_at": 2, "counts": [["ndb", "koeln.example", 7]]}',
    "a number for a name": '{"since": 1, "saved_at": 2, "counts": [["ndb", 5, "accept", "ok", 7]]}',
    "less than nothing": '{"since": 1, "saved_at": 2, "counts": [["ndb", "koeln.example", "accept", "ok", -1]]}',
    "true": '{"since": 1, "saved_at": 2, "counts": [["ndb", "koeln.example", "accept", "ok", true]]}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_said_and_replaced(own: Gateway, text: str) -> None:
    saved(own).parent.mkdir()
    saved(own).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert status(own) is None
    said: list[str] = []
    before = int(time.time())
    file = CountersFile(str(own.state_dir), said.append)
    (line,) = said
    assert line.startswith(f"error: {saved(own)}: broken (")
    assert line.endswith("): counting starts again at zero\n")
    assert line.count("\n") == 1
    assert file.counters.since >= before
    file.counters.count(("ndb", "koeln.example", "accept", "ok"))
    file.save(file.counters)
    assert status(own)["networks"]["ndb"]["total"] == {"accept": 1}


def test_a_file_that_is_too_long(own: Gateway) -> None:
    saved(own).parent.mkdir()
    with saved(own).open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ValueError, match="bytes"):
        read_counters(own.state_dir)
    assert status(own) is None


def test_a_folder_in_place_of_the_file(own: Gateway) -> None:
    saved(own).mkdir(parents=True)
    assert status(own) is None
    with Daemon(own.config) as daemon:
        ask(daemon, ("koeln.example", WRONG))
        assert daemon.stop() == 0
        assert daemon.log().count("error: ") == 2  # when it read, when it wrote


@pytest.mark.parametrize("how", ["removed", "a file"])
def test_where_nothing_can_be_saved_mail_goes_on(own: Gateway, how: str) -> None:
    """One line in the log, however often it is tried, until it works again."""
    away = own.folder / "away"
    with Daemon(own.config) as daemon:
        ask(daemon, ("koeln.example", WRONG))
        own.state_dir.rename(away)
        if how == "a file":
            own.state_dir.write_text("")
        for _ in range(3):
            daemon.reload()
        daemon.wait_for(rf"^error: {saved(own)}: (No such file|Not a directory).*: counters are kept in memory only$")
        assert daemon.log().count("counters are kept") == 1
        own.state_dir.unlink(missing_ok=True)
        away.rename(own.state_dir)
        ask(daemon, ("koeln.example", RIGHT))
        assert daemon.stop() == 0
    assert status(own)["networks"]["ndb"]["total"] == {"accept": 1, "reject": 1}


@pytest.mark.real("root")
def test_what_root_writes_belongs_to_the_owner(own: Gateway) -> None:
    """The next daemon runs as that user."""
    os.chown(own.state_dir, 65534, 65534)
    target = own.folder / "somebody's"
    target.write_text("precious")
    with Daemon(own.config) as daemon:
        ask(daemon, ("koeln.example", WRONG))
        daemon.reload()
        saved(own).unlink()
        saved(own).symlink_to(target)
        ask(daemon, ("koeln.example", WRONG))
        assert daemon.stop() == 0
    folder = saved(own).parent.stat()
    assert (folder.st_uid, folder.st_gid, folder.st_mode & 0o777) == (65534, 65534, 0o755)
    found = saved(own).lstat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65534, 0o640)
    assert (target.read_text(), target.stat().st_uid) == ("precious", 0)
    assert not list(saved(own).parent.glob(".*"))


def test_killed_it_loses_only_what_was_not_saved(own: Gateway) -> None:
    with Daemon(own.config) as daemon:
        ask(daemon, ("koeln.example", WRONG))
        daemon.reload()
        ask(daemon, ("koeln.example", WRONG))
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        daemon.process.returncode = 0  # it is we who killed it
    assert status(own)["networks"]["ndb"]["total"] == {"reject": 1}


def test_the_bound_in_status(own: Gateway) -> None:
    """What is beyond the bound is shown without names, and all of it survives the file."""
    file = CountersFile(str(own.state_dir), print)
    for number in range(MOST_NAMED + 100):
        file.counters.count(("ndb", f"p{number}.example", "accept", "ok"))
    file.save(file.counters)
    assert json.loads(saved(own).read_bytes())["since"] == file.counters.since
    shown = status(own)["networks"]["ndb"]
    assert (shown["total"], shown["others"]) == ({"accept": MOST_NAMED + 100}, {"accept": 100})
    assert len(shown["partners"]) == MOST_NAMED
    assert dict(CountersFile(str(own.state_dir), print).counters) == dict(file.counters)


def test_a_removed_state_directory_is_not_made_again(own: Gateway) -> None:
    with Daemon(own.config) as daemon:
        ask(daemon, ("koeln.example", WRONG))
        shutil.rmtree(own.state_dir)
        assert daemon.stop() == 0
    assert not own.state_dir.exists()
