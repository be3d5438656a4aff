"""A gateway in one folder: a signed list, a configuration, a Postfix configuration of its own, and ways to run `sync`.

Real gpg and real postmap do the work; the machine's /etc/postfix is never read.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import closedmail
from closedmail.cli.main import main
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.core.record import Entry
from closedmail.lists.fetch_log import FetchRecord, read_log
from closedmail.lists.suffix_file import load_suffixes
from closedmail.store.environment import store_path
from closedmail.store.manifest import Manifest
from closedmail.store.snapshot import StoreReader
from closedmail.sync.run import sync
from closedmail.sync.sync_report import NetworkReport, SyncReport
from support.keys import Signer
from support.real import SBIN

DAY = 86400
HOUR = 3600
MINUTE = 60
USER = "Closed Net <lists@net.example>"

_load_suffixes = cache(load_suffixes)  # it takes longer than all the rest of a small sync

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
myhostname = mail.city.example
mydomain = city.example
myorigin = city.example
"""
# Networks deliver by `smtp` in most tests (`Site.add_network`), partners without a network by a service of their own.
MASTER_CF = """\
smtp      inet  n       -       n       -       -       smtpd
rewrite   unix  -       -       n       -       -       trivial-rewrite
smtp      unix  -       -       n       -       -       smtp
closed    unix  -       -       n       -       -       smtp
  -o smtp_fallback_relay=
closedmail unix -       -       n       -       -       smtp
  -o smtp_tls_policy_maps=hash:{folder}/maps/tls_policy
relay     unix  -       -       n       -       -       smtp
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
"""


@dataclass(frozen=True)
class Signers:
    """The keys of a session: `net` is the network's own, `stranger` is nobody's."""

    net: Signer
    stranger: Signer


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line came to."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.stdout)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class File:
    """A file as it is, inode and all: equal means that nobody has touched it."""

    data: bytes
    inode: int
    mode: int
    changed: tuple[int, int]


def tree(folder: Path) -> dict[str, File | None]:
    """All that lies below a folder, None for folders. LMDB's lock file changes with every reader and is left out."""
    found: dict[str, File | None] = {}
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        if path.name == "lock.mdb":
            continue
        name = str(path.relative_to(folder))
        changed = (status.st_mtime_ns, status.st_ctime_ns)
        found[name] = None if path.is_dir() else File(path.read_bytes(), status.st_ino, status.st_mode, changed)
    return found


def toml(settings: Mapping[str, Any]) -> str:
    """Settings by dotted key as TOML; the last part of each is the key, a part in quotes may have dots in it."""
    tables: dict[str, list[str]] = {}
    for dotted, value in settings.items():
        parts = dotted.split('"') if '"' in dotted else None
        if parts:
            table = f'{parts[0]}"{parts[1]}"'
            rest = parts[2].removeprefix(".").split(".")
            table = ".".join((table, *rest[:-1]))
            key = rest[-1]
        else:
            table, _, key = dotted.rpartition(".")
        lines = tables.setdefault(table, [])
        if key:
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return "".join(f"[{table}]\n" + "".join(f"{line}\n" for line in lines) for table, lines in tables.items())


class Site:
    """A gateway with one network, `ndb`, whose list is signed unless `signed` is False.

    `settings` are the configuration's keys, dotted (`network.ndb.outbound.tls`); change them and the next run reads
    them anew. A list is put in place with `put`. `now` is the time of every run and only moves when a test moves it.
    """

    def __init__(self, folder: Path, signers: Signers, *, signed: bool = True) -> None:
        self.folder, self.signers = folder, signers
        self.state_dir, self.map_dir = folder / "state", folder / "maps"
        self.config_path, self.etc = folder / "closedmail.toml", folder / "etc"
        self.now = int(time.time())
        self.etc.mkdir()
        (self.etc / "master.cf").write_text(MASTER_CF.format(folder=folder))
        self.main_cf = MAIN_CF.format(folder=folder)
        self.write_main_cf()
        self.key_file = folder / "network.asc"
        self.key_file.write_bytes(signers.net.public())
        self.settings: dict[str, Any] = {
            "gateway.state_dir": str(self.state_dir),
            "gateway.own_domains": ["city.example"],
            "postfix.map_dir": str(self.map_dir),
            "postfix.config_directory": str(self.etc),
        }
        self.add_network("ndb", signed=signed)

    # The configuration.

    def add_network(self, name: str, *, signed: bool = False) -> None:
        """One more network with a list of its own, `NAME.list`."""
        more: dict[str, Any] = {"source": str(self.list_file(name))}
        if signed:
            more |= {"key_file": str(self.key_file), "signing_keys": [self.signers.net.fingerprint]}
        else:
            more |= {"signature": "none"}
        # Tests put hundreds of domains at a time; the brake has its own tests, with what is the default.
        more |= {"grow_floor": 1_000_000}
        more |= {"inbound.mode": "enforce", "inbound.allow_from": ["192.0.2.0/24"]}
        more |= {"outbound.tls": "encrypt", "outbound.transport": "smtp"}
        self.set(name, **{key.replace(".", "__"): value for key, value in more.items()})

    def set(self, network: str = "ndb", **keys: Any) -> None:
        """Set keys of a network; `outbound__tls` stands for `outbound.tls`."""
        self.settings |= {f"network.{network}.{key.replace('__', '.')}": value for key, value in keys.items()}

    def partner(self, domain: str, **keys: Any) -> None:
        """Set keys of a `[partner]` table."""
        self.settings |= {f'partner."{domain}".{key.replace("__", ".")}': value for key, value in keys.items()}

    def drop(self, start: str) -> None:
        """Take all keys that begin so out of the configuration."""
        self.settings = {key: value for key, value in self.settings.items() if not key.startswith(start)}

    def write_main_cf(self, more: str = "") -> None:
        """Write main.cf, as if long ago: Postfix's programs wait for a fresh one to cool down (dict_load_file_xt)."""
        path = self.etc / "main.cf"
        path.write_text(self.main_cf + more)
        os.utime(path, (self.now - DAY, self.now - DAY))

    def own_service(self, network: str) -> None:
        """Make the network's own service in master.cf."""
        table = f"{self.map_type}:{self.map_dir}/tls_policy-{network}"
        with (self.etc / "master.cf").open("a") as file:
            file.write(f"closedmail-{network} unix - - n - - smtp -o smtp_tls_policy_maps={table}\n")

    def write_config(self) -> None:
        """Write closedmail.toml, unless it says so already."""
        text = toml(self.settings)
        if not self.config_path.exists() or self.config_path.read_text(encoding="utf-8") != text:
            self.config_path.write_text(text, encoding="utf-8")

    @property
    def config(self) -> Config:
        self.write_config()
        return load(self.config_path)

    # The lists.

    def list_file(self, name: str = "ndb") -> Path:
        return self.folder / f"{name}.list"

    def put(self, text: str | bytes, *, network: str = "ndb", when: int | None = None) -> None:
        """Put a list in place by renaming; signed where the network's lists are, by default a minute ago."""
        data = text if isinstance(text, bytes) else text.encode()
        if f"network.{network}.key_file" in self.settings:
            data = self.signers.net.clearsign(data, when=self.now - MINUTE if when is None else when)
        self.put_raw(data, network=network)

    def put_raw(self, data: bytes, *, network: str = "ndb") -> None:
        aside = self.folder / "new.list"
        aside.write_bytes(data)
        aside.replace(self.list_file(network))

    # Running it.

    def sync(self, *names: str, **how: Any) -> SyncReport:
        """Run `sync` in this process, at `now`."""
        return sync(self.config, names=names, **{"now": self.now, **how})

    def published(self, **how: Any) -> NetworkReport:
        """Run `sync`, which must publish; the report of `ndb`."""
        report = self.sync(**how)
        found = report.networks["ndb"]
        assert (found.result, found.code, found.reason) == ("published", None, "")
        return found

    def refused(self, code: str, **how: Any) -> NetworkReport:
        """Run `sync`, which must refuse `ndb` with this code; its report."""
        report = self.sync(**how)
        found = report.networks["ndb"]
        assert (found.result, found.code) == ("refused", code)
        assert found.reason
        assert found.reason.isprintable()
        assert report.refused
        return found

    def run(self, *args: str) -> Outcome:
        """Run the command line in this process."""
        self.write_config()
        out, err = io.StringIO(), io.StringIO()
        argv = ["closedmail", "--config", str(self.config_path), *args]
        with (
            mock.patch.object(sys, "argv", argv),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as end,
        ):
            main()
        assert isinstance(end.value.code, int)
        return Outcome(end.value.code, out.getvalue(), err.getvalue())

    def fork(self, *args: str, user: int | None = None) -> Outcome:
        """Run the command line in a fork of this process, which may become another user, also at once as `user`.

        Another user may not be able to read this Python: a dry run first loads all modules. A status below 0 is that of
        a process that was killed by a signal.
        """
        answer = self.folder / "answer"
        answer.touch()
        child = os.fork()
        if not child:
            try:
                with answer.open("w") as file:
                    if user is not None:
                        os.setgroups([])
                        os.setuid(user)
                    outcome = astuple(self.run(*args))
                    if not os.fstat(file.fileno()).st_size:  # else a child of this one, which became the owner, has
                        json.dump(outcome, file)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        _, ended = os.waitpid(child, 0)
        if os.WIFSIGNALED(ended):
            return Outcome(-os.WTERMSIG(ended), "", "")
        return Outcome(*json.loads(answer.read_text()))

    def command(self, *args: str) -> list[str]:
        """The command line as a process's arguments."""
        self.write_config()
        return [sys.executable, "-m", "closedmail", "--config", str(self.config_path), *args]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of such a process."""
        path = (Path(__file__).parent / "nowhere", Path(closedmail.__file__).parents[1])
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **more}

    def spawn(self, *args: str, **more: str) -> Outcome:
        """Run the command line as a process of its own; `more` goes into its environment."""
        done = subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    # What is in force.

    def lookup(self, keys: Iterable[str], table: str = "transport") -> dict[str, str]:
        """Ask postmap for keys; what it finds, by key."""
        done = subprocess.run(
            ["postmap", "-c", self.etc, "-q", "-", f"{self.map_type}:{self.map_dir / table}"],  # noqa: S607  Debian's
            input="".join(f"{key}\n" for key in keys),
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.stderr, done.stderr
        return dict(line.split("\t", 1) for line in done.stdout.splitlines())

    def route(self, key: str) -> str | None:
        return self.lookup([key]).get(key)

    def policy(self, nexthop: str) -> str | None:
        return self.lookup([nexthop], "tls_policy").get(nexthop)

    @property
    def map_type(self) -> str:
        asked = self.settings.get("postfix.map_type")
        if asked:
            return str(asked)
        command = ["postconf", "-c", str(self.etc), "-h", "default_database_type"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def rows(self, table: str = "transport") -> dict[str, str]:
        """The rows of a map's text."""
        return text_rows(self.map_dir / table)

    def store(self) -> StoreReader:
        return StoreReader(store_path(str(self.state_dir)))

    @property
    def manifest(self) -> Manifest:
        with self.store() as store:
            return store.current().manifest

    @property
    def records(self) -> dict[str, Entry]:
        with self.store() as store:
            return dict(store.current().records())

    @property
    def log(self) -> dict[str, FetchRecord]:
        return read_log(self.state_dir)

    def in_force(self) -> dict[str, File | None]:
        """All files that Postfix reads, and the policy store."""
        maps = {f"maps/{name}": file for name, file in tree(self.map_dir).items()}
        return maps | {f"store/{name}": file for name, file in tree(self.state_dir / "store").items()}

    def assert_consistent(self) -> None:
        """Maps and store say the same generation, every route has its TLS row, and nothing lies about."""
        number = self.manifest.generation
        head = f"# closedmail generation {number}\n"
        for table in ("transport", "tls_policy"):
            with (self.map_dir / table).open(encoding="utf-8") as file:
                assert file.readline() == head
            rows = self.rows(table)
            assert list(rows) == sorted(rows)
            assert self.lookup(rows, table) == rows
        assert_covered(self.rows(), self.rows("tls_policy"))
        with self.store() as store:
            rows = {nexthop: str(row.policy) for nexthop, row in store.current().tls_rows()}
        assert rows == self.rows("tls_policy")
        assert not {"work", "switching"} & {path.name for path in self.state_dir.iterdir()}
        assert {path.stem for path in self.map_dir.iterdir()} == {"transport", "tls_policy", "recipients_unusual"}


def text_rows(path: Path) -> dict[str, str]:
    """The rows of a map's text; no key may stand twice."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if not line.startswith("#")]
    rows = {pair[0]: pair[1] for pair in pairs}
    assert len(rows) == len(pairs)
    return rows


def nexthops(value: str) -> list[str]:
    """The single nexthops of a transport row's value."""
    service, _, rest = value.partition(":")
    return [] if service in ("error", "retry", "") else rest.split(", ")


def assert_covered(transport: Mapping[str, str], tls_policy: Mapping[str, str]) -> None:
    """No route without the TLS row of each of its nexthops."""
    bare = {nexthop for value in transport.values() for nexthop in nexthops(value)} - tls_policy.keys()
    assert not bare


def routes(count: int, *, start: int = 0) -> str:
    """A list of `count` domains, each with an address of its own."""
    return "".join(
        f"d{n:05}.example\tesmtp:[198.51.{n // 250 % 250}.{n % 250 + 1}]\n" for n in range(start, start + count)
    )


class Recorder:
    """Programs in front of the PATH that note that they were called, and then call the real one."""

    def __init__(self, folder: Path, names: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._log = folder / "calls"
        folder.mkdir()
        for name in names:
            script = f'#!/bin/sh\necho {name} >>"{self._log}"\nPATH=${{PATH#*:}}\nexec {name} "$@"\n'
            put_program(folder / name, script)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def calls(self) -> list[str]:
        """The programs called since the last time this was asked."""
        found = self._log.read_text().split() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return found


def put_program(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)


@pytest.fixture(scope="session")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signers]:
    """The session's keys."""
    folder = tmp_path_factory.mktemp("s")
    made = Signers(
        Signer(folder / "net", USER, created="20250101T000000"),
        Signer(folder / "str", USER, created="20250101T000000"),
    )
    yield made
    made.net.stop()
    made.stranger.stop()


@contextmanager
def gateway_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a gateway; postmap and postconf are in the PATH, and there is no proxy.

    The folder is in memory where it can be: hundreds of syncs write through to the disk, and no test cuts the power.
    """
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{SBIN}")
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("closedmail.sync.inputs.load_suffixes", _load_suffixes)
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="closedmail-", dir=memory if os.access(memory, os.W_OK) else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the gateway of one test."""
    with gateway_folder(monkeypatch) as folder:
        yield folder


@pytest.fixture
def site(surroundings: Path, signers: Signers) -> Site:
    """A gateway whose network signs its list."""
    return Site(surroundings, signers)


@pytest.fixture
def plain(surroundings: Path, signers: Signers) -> Site:
    """A gateway whose network does not sign its list: for all that has nothing to do with signatures."""
    return Site(surroundings, signers, signed=False)
