"""Thousands of spellings of senders sent through a running Postfix: what it queued, and what we decided about it.

A spelling that fails here goes into tests/senders/found.jsonl: the failure prints the lines.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.gateway import Gateway
from support.real import SBIN, require
from support.senders.corpus import Row, rewriting, wrong
from support.senders.mill import Seen, running_mill
from support.senders.oracle import PARTNERS, whose
from support.senders.spellings import BASE, SETTINGS, WAYS, spellings

from closedmail.inbound.sender import queued_domains
from closedmail.mta.postfix_settings import read_settings

pytestmark = pytest.mark.real("root", "postfix", "postfix-lmdb")

TABLES = {name: {**BASE, **settings} for name, settings in SETTINGS.items()}
# Of these Postfix 3.7 queues none with a partner's domain: it refuses them itself (501).
NEVER_THROUGH = {"comments in it", "literals"}
ENFORCED = "mydomain"  # every rewriting is on


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory where it can be: every mail is written through to the disk, and no test cuts the power."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="closedmail-", dir=memory if memory.is_dir() else None))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def seen(folder: Path) -> list[Seen]:
    """What Postfix made of each spelling."""
    require("root", "postfix", "postfix-lmdb")
    with running_mill(folder / "postfix", TABLES) as mill:
        return mill.send(spellings())


def row(one: Seen, *, checked: bool) -> Row:
    assert one.attribute is not None
    assert one.queued is not None
    sender, queued = (data.decode("utf-8", "surrogateescape") for data in (one.attribute, one.queued))
    return Row(one.spelling.settings, sender, queued, checked)


def of(whom: str, seen: list[Seen]) -> list[Seen]:
    return [one for one in seen if one.queued is not None and whose(one.queued) == whom]


def test_enough_was_sent(seen: list[Seen]) -> None:
    """Thousands, queued as a partner's and as a stranger's under all settings, and in all ways that Postfix lets in."""
    assert len(seen) > 20_000
    partners, strangers = of("partner", seen), of("stranger", seen)
    for some in (partners, strangers):
        assert len(some) > 4_000
        assert min(Counter(one.spelling.settings for one in some)[name] for name in SETTINGS) > 100
    ways = {one.spelling.way.partition(",")[0] for one in partners}
    assert set(WAYS) - ways == NEVER_THROUGH
    print(Counter(whose(one.queued) if one.queued is not None else one.reply[:9] for one in seen))


def test_no_partners_sender_goes_unchecked(seen: list[Seen]) -> None:
    missed = wrong((row(one, checked=True) for one in of("partner", seen)), queued_domains)
    assert not missed, "\n".join(each.line() for each in missed)


def test_no_stranger_is_taken_for_a_partner(seen: list[Seen]) -> None:
    taken = wrong((row(one, checked=False) for one in of("stranger", seen)), queued_domains)
    assert not taken, "\n".join(each.line() for each in taken)


def test_nothing_that_is_queued_is_left_unanswered(seen: list[Seen]) -> None:
    """For the daemon would close the connection, and the mail wait for ever."""
    for one in seen:
        if one.attribute is not None:
            queued_domains(one.attribute.decode("utf-8", "surrogateescape"), rewriting(one.spelling.settings))


def configuration(folder: Path, settings: str) -> Path:
    """A Postfix's configuration with these settings, for postconf(1)."""
    folder.mkdir()
    lines = [f"{name} = {value}\n" for name, value in TABLES[settings].items()]
    (folder / "main.cf").write_text("".join(("compatibility_level = 3.6\n", *lines)))
    (folder / "master.cf").write_text("smtp unix - - n - - smtp\n")
    for path in folder.iterdir():
        os.utime(path, (1, 1))  # of a file that is younger than two seconds Postfix waits for the rest
    return folder


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_are_read_through_postconf(settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", SBIN, prepend=":")
    assert read_settings(str(configuration(tmp_path / "etc", settings))).rewriting == rewriting(settings)


def test_the_daemon_refuses_partners_and_nobody_else(
    seen: list[Seen], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: settings from postconf, kept in a generation, read by policyd, which Postfix asks."""
    monkeypatch.setenv("PATH", SBIN, prepend=":")
    gateway = Gateway(folder / "gateway")
    gateway.folder.mkdir()
    gateway.write_list(f"{partner}\tesmtp:[192.0.2.20]" for partner in PARTNERS)
    etc = configuration(folder / "etc", ENFORCED)
    gateway.configure(
        partners="", more=f'[postfix]\nconfig_directory = "{etc}"\nmap_dir = "{folder}/maps"\nmap_type = "lmdb"'
    )
    gateway.sync()
    queued = {one.spelling: one.queued for one in seen if one.spelling.settings == ENFORCED}
    with (
        Daemon(gateway.config, "--listen", "inet:127.0.0.1:0") as daemon,
        running_mill(folder / "enforcing", {ENFORCED: TABLES[ENFORCED]}, daemon.where[0]) as mill,
    ):
        answers = mill.send(queued, sessions=4)
    refused = {one.spelling for one in answers if one.reply.startswith("554 5.7.1 ")}
    assert all("accepted through ndb only" in one.reply for one in answers if one.spelling in refused)
    for one in answers:
        before = queued[one.spelling]
        if one.spelling not in refused:
            assert one.queued == before
        if before is not None and (whom := whose(before)) != "nobody":
            assert (one.spelling in refused) == (whom == "partner"), one
    assert len(refused) > 300
