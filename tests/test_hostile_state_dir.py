"""A state directory that its owner, the service user, has prepared: root's commands survive it, and stay root's.

Whatever lies in it, each command ends in time, without a traceback and without being killed.
"""

import faulthandler
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile

import lmdb
import pytest
from support.patient import Patient, patient

from closedmail.cli import history_command, main
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.daemon.counters_file import MILTER, POLICYD
from closedmail.doctor.running_state import read_state
from closedmail.errors import ClosedmailError
from closedmail.lists.fetch_log import read_log
from closedmail.mta.asked_tables import answers_about
from closedmail.mta.lookup_chain import lookup_chain
from closedmail.mta.postconf import run_postfix
from closedmail.owner import call_as_owner
from closedmail.report.report import render_report
from closedmail.status.status import Status
from closedmail.status.traffic import find_traffic

pytestmark = pytest.mark.real("root", "Python for all users", "postconf", "postmap", "openssl")
NOBODY = 65534
IN_TIME = 60  # seconds, for a command that waits for nothing
REPORT = ("report", "--output", "{folder}/report.html")
COMMANDS = (
    ("status",),
    ("status", "--nagios"),
    ("history", "--json"),
    REPORT,
    ("export", "csv"),
    ("explain", "--recipient", "office@koeln.example"),
    ("replay", "{folder}/mail.log"),
)
DOCTOR = ("doctor", "--json")
AGE = re.compile(r"[\d.:]+(?: (?:second|minute)s?)?")  # and times, and the coordinates of charts
JSON = ("sync.json", POLICYD, MILTER, "probe.json", "own_rows.json")
# What is exchanged at once.
PLACES = (JSON, ("store/data.mdb",), ("store", "counters"), ("postfix/transport", "postfix/senders"), ("postfix",))


def link(path: Path) -> None:
    path.symlink_to("/etc/shadow")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def device(path: Path) -> None:
    os.mknod(path, 0o20644, os.makedev(1, 5))  # /dev/zero, which never ends; only root can make it


# Each makes something in place of a file or folder that is gone.
WAYS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "pipe": os.mkfifo,
    "link to a file of root's": link,
    "link to itself": loop,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "socket": listen,
    "device": device,
    "folder": lambda path: (path / "x").mkdir(parents=True),
    "hole": sparse,
    "empty": lambda path: path.touch(),
    "bytes": lambda path: path.write_bytes(random.Random(1).randbytes(50_000)),  # noqa: S311
    "closed": lambda path: path.touch(0o000),
}
VALUES = (
    "[" * 100_000,
    '{"networks":' * 100_000,
    '{"networks":{"ndb":' + '{"a":' * 50_000,
    "null",
    "[]",
    '"x"',
    "1e999",
    "-1",
    "9" * 5000,
    "{}",
    '{"networks":[],"counts":{},"hosts":{},"since":[],"saved_at":{},"probed_at":1}',
    '{"networks":{"ndb":[]},"counts":[1],"hosts":[1],"since":1,"saved_at":1,"probed_at":""}',
    '{"networks":{"ndb":{"fetched_at":1e400,"result":7}},"counts":[[[],[],[],[],[]]],"since":1e999,"saved_at":-1}',
    '{"networks":{"ndb":{"fetched_at":99999999999999999999,"result":"refused","code":{},"reason":"\\u001b[2J"}}}',
    '{"counts":[["ndb","koeln.example","accept","ok",1e400]],"since":1,"saved_at":NaN}',
    "\x00" * 100,
    "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Patient]:
    with patient(wired=True, daemon=False) as made:
        log = made.folder / "mail.log"  # which root alone may read
        log.write_text(
            "Nov 30 21:00:00 gw postfix/smtpd[1]: connect from x[192.0.2.9]\n"
            "Nov 30 21:00:01 gw postfix/smtpd[1]: 4A1: client=x[192.0.2.9]\n"
            "Nov 30 21:00:02 gw postfix/qmgr[2]: 4A1: from=<a@koeln.example>, size=1, nrcpt=1 (queue active)\n"
        )
        log.chmod(0o600)
        yield made


@pytest.fixture
def state(gateway: Patient) -> Iterator[Path]:
    """The state directory, given to nobody; as it was in the end."""
    place, kept = gateway.folder / "state", gateway.folder / "kept"
    (place / "counters").mkdir(exist_ok=True)
    if not kept.exists():
        shutil.copytree(place, kept)
    yield place
    shutil.rmtree(place)
    shutil.copytree(kept, place)


def give(place: Path) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


for _name in {command[0] for command in COMMANDS} | {
    "check",
    "compare",
    "doctor",
    "release",
    "rollback",
    "setup",
    "sync",
}:
    import_module(f"closedmail.cli.{_name}_command")  # once, and not in each fork


def run(gateway: Patient, *command: str) -> tuple[int, str, str]:
    """Run a command as root; it ends in time, by itself, and without a traceback."""
    words = ["--config", str(gateway.config), *(word.format(folder=gateway.folder) for word in command)]
    with TemporaryFile() as out, TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            status = 99
            try:
                faulthandler.disable()
                signal.alarm(IN_TIME)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdout, sys.stderr = (open(each, "w", encoding="utf-8", closefd=False) for each in (1, 2))  # noqa: SIM115
                sys.argv = ["closedmail", *words]
                main.main()
            except SystemExit as end:
                status = int(end.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        said, complained = out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")
    assert status in (0, 1, 2, 3), (command, status, said, complained)
    assert "Traceback" not in complained, (command, complained)
    assert "root:" not in said
    return status, said, complained


def exchange(place: Path, way: str) -> None:
    """Put something else in place of a file or folder, if it is there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    WAYS[way](place)


@pytest.mark.parametrize("way", WAYS)
def test_anything_in_place_of_a_file(gateway: Patient, state: Path, way: str) -> None:
    kept = gateway.folder / "kept"
    for number, names in enumerate(PLACES):
        for name in names:
            exchange(state / name, way)
        give(state)
        if names == JSON:
            run(gateway, *COMMANDS[0])
            run(gateway, *REPORT)
        else:
            run(gateway, *COMMANDS[(number + len(way)) % len(COMMANDS)])
        if names == PLACES[-1 if len(way) % 2 else 1]:
            run(gateway, *DOCTOR)
        shutil.rmtree(state)
        shutil.copytree(kept, state)


@pytest.mark.parametrize(
    ("way", "names"),
    [
        ("pipe", (*JSON, "lists", "postfix/transport")),
        ("link to a file of root's", ("store/data.mdb", "postfix")),
        ("hole", ("store/data.mdb", "postfix/transport")),
    ],
)
def test_setup_survives_it(gateway: Patient, state: Path, way: str, names: tuple[str, ...]) -> None:
    shadow = Path("/etc/shadow").stat()
    for name in names:
        exchange(state / name, way)
    give(state)
    run(gateway, "setup", "--yes")
    run(gateway, "setup", "--undo")
    assert Path("/etc/shadow").stat()[:7] == shadow[:7]


@pytest.mark.parametrize("way", ["pipe", "hole", "link to itself", "closed"])
def test_what_writes_survives_it(gateway: Patient, state: Path, way: str) -> None:
    for name in (*JSON, "postfix/transport", "lists"):
        exchange(state / name, way)
    give(state)
    run(gateway, "sync")
    exchange(state / "store/data.mdb", way)
    for command in (("rollback", "1"), ("release", "koeln.example"), ("check",)):
        run(gateway, *command)


@pytest.mark.parametrize("text", VALUES, ids=range(len(VALUES)))
def test_any_json(gateway: Patient, state: Path, text: str) -> None:
    for name in JSON:
        (state / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    give(state)
    run(gateway, *COMMANDS[0])
    run(gateway, *REPORT)


def put(state: Path, database: bytes, key: bytes | None, value: bytes) -> None:
    """Write into the store as its owner may; `key` None: in place of every value."""
    environment = lmdb.open(str(state / "store"), max_dbs=8, map_size=1 << 30)
    with environment.begin(write=True) as txn:
        opened = environment.open_db(database, txn=txn)
        keys = [key] if key is not None else [bytes(each) for each, _ in txn.cursor(db=opened)]
        for each in keys:
            txn.put(each, value, db=opened)
    environment.close()


@pytest.mark.parametrize(
    ("database", "key"),
    [
        (b"meta", b"manifest"),
        (b"meta", b"details:ndb"),
        (b"meta", b"schema"),
        *((b, None) for b in (b"history", b"domains", b"tls", b"archive")),
    ],
)
def test_any_value_in_the_store(gateway: Patient, state: Path, database: bytes, key: bytes | None) -> None:
    kept = (state / "store" / "data.mdb").read_bytes()
    values = (b"[" * 100_000, b"null", b"{}", b'"x"', b"\xff" * 40, b'{"networks":[1]}')
    for number, value in enumerate(values):
        (state / "store" / "data.mdb").write_bytes(kept)
        put(state, database, key, value)
        give(state)
        run(gateway, *COMMANDS[number % len(COMMANDS)])


def damaged(data: bytes, random_: random.Random) -> bytes:
    """A store with bytes of its pages changed, the first two's mostly kept, or cut short."""
    made = bytearray(data)
    if random_.random() < 0.2:
        del made[random_.randrange(4096, len(made)) :]
    low = 0 if random_.random() < 0.2 else 8192
    for _ in range(random_.choice((1, 4, 50, 1000))):
        if len(made) > low:
            made[random_.randrange(low, len(made))] = random_.choice((0, 1, 2, 0x10, 0x7F, 0xFF))
    return bytes(made)


def read_all(config: Config) -> None:
    """Read as the commands do, without asking Postfix."""
    status = Status()
    for look in (
        lambda: history_command._generations(config),
        lambda: read_state(config, 0),
        lambda: list(render_report(config, status, 0)),
        lambda: (find_traffic(Path(config.gateway.state_dir)), read_log(Path(config.gateway.state_dir))),
    ):
        with suppress(Exception):  # whose parent tells it in one line
            look()


def test_random_damage(gateway: Patient, state: Path) -> None:
    """500 state directories; the seed is the number. Each 20th is met by a command, the others by what commands call:
    many of them in one child, until one ends it."""
    kept = {name: (state / name).read_bytes() for name in ("store/data.mdb", "sync.json")}
    config, reached = load(gateway.config), state / "reached"

    def make(number: int) -> None:
        random_ = random.Random(number)  # noqa: S311
        (state / "store" / "data.mdb").write_bytes(damaged(kept["store/data.mdb"], random_))
        (state / "sync.json").write_bytes(damaged(kept["sync.json"] * 50, random_))

    def read_from(first: int) -> int:
        faulthandler.disable()
        signal.alarm(IN_TIME)
        for number in range(first, 500):
            reached.write_text(str(number))
            make(number)
            read_all(config)
        return 500

    give(state)
    crashes: list[str] = []
    number = 0
    while number < 500:
        try:
            number = call_as_owner(state, partial(read_from, number))
        except ClosedmailError as error:
            crashes.append(str(error))
            number = int(reached.read_text()) + 1
    assert int(reached.read_text()) in (499, 500)
    assert len(crashes) < 100
    fatal = (f"signal {int(signal.SIGBUS)};", f"signal {int(signal.SIGSEGV)};")
    assert all(any(each in text for each in fatal) for text in crashes)
    for number in range(0, 500, 20):
        make(number)
        give(state)
        run(gateway, *COMMANDS[number // 20 % len(COMMANDS)])


def test_a_crash_is_told(gateway: Patient, state: Path) -> None:
    """LMDB believes the size that a page gives for a value, and reads on behind the file's end."""
    data = bytearray((state / "store" / "data.mdb").read_bytes())
    found = [match.start() for match in re.finditer(rb"\x08\x00manifest", data)]  # the key's length, and the key
    assert found
    for start in found:
        data[start - 6 : start - 2] = b"\xff\xff\xff\x7f"  # the value's size: mdb.c, MDB_node
    (state / "store" / "data.mdb").write_bytes(data)
    give(state)
    status, said, complained = run(gateway, "history")
    assert (status, said) == (1, "")
    assert complained.startswith(f"closedmail: error: {state} can't be read as its owner: what reads it was ended by ")


def test_root_reads_as_the_owner(gateway: Patient, state: Path) -> None:
    """What nobody may not read is not read, though root could."""
    (state / "store" / "data.mdb").chmod(0o600)
    give(state)
    os.chown(state / "store" / "data.mdb", 0, 0)
    for command in (("history",), ("export", "csv"), ("explain", "--recipient", "office@koeln.example")):
        status, _, complained = run(gateway, *command)
        assert (status, "no permission" in complained) == (1, True), complained
    found = json.loads(run(gateway, "doctor", "--json")[1])["findings"]
    assert "no permission" in next(item["text"] for item in found if item["id"] == "no-generation")


def test_what_is_in_order_reads_the_same(gateway: Patient, state: Path) -> None:
    """As the owner, in a child, every command says what it says without one."""

    def said() -> list[tuple[int, str, str]]:
        return [
            run(gateway, *command)
            for command in (*COMMANDS[2:], DOCTOR, ("export", "json"), ("export", "postfix-native"))
        ]

    def page() -> str:
        return AGE.sub("", (gateway.folder / "report.html").read_text())

    before, page_before = said(), page()
    give(state)
    assert said() == before
    assert page() == page_before
    assert before[0][0] == 0


def test_root_reads_the_tables_that_only_root_may(gateway: Patient, state: Path, tmp_path: Path) -> None:
    """Postfix's own table may have a password in it. The owner asks root about it, and about no other."""
    table = tmp_path / "own"
    table.write_text("koeln.example smtp:[192.0.2.77]\n")
    table.chmod(0o600)
    tmp_path.chmod(0o700)
    give(state)
    main_cf, before = gateway.etc / "main.cf", (gateway.etc / "main.cf").read_text()
    maps = run_postfix("postconf", "-c", str(gateway.etc), "-h", "transport_maps")
    try:
        main_cf.write_text(f"{before}\ntransport_maps = texthash:{table}, {maps}")
        found = json.loads(run(gateway, *DOCTOR)[1])["findings"]
        texts = [item["text"] for item in found if item["id"] in ("partner-overridden", "own-table")]
        assert len(texts) == 1
        assert "192.0.2.77" in texts[0]
        said = run(gateway, "explain", "--recipient", "office@koeln.example")[1]
        assert "by your own row for koeln.example" in said
        assert run(gateway, "compare", f"texthash:{table}")[0] == 1
    finally:
        main_cf.write_text(before)
    answer = answers_about(lookup_chain({"transport_maps": f"texthash:{table}"}, {}, "/maps"), str(gateway.etc))
    assert answer(["rows", f"texthash:{table}", []]) == {"found": {"koeln.example": "smtp:[192.0.2.77]"}}
    questions: tuple[object, ...] = (
        ["rows", "texthash:/etc/shadow", []],
        ["ask", "texthash:/etc/shadow", ["r"]],
        7,
        {},
    )
    for question in questions:
        assert list(answer(question)) == ["error"]
