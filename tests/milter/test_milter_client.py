"""The milter asked by miltertest, which is no MTA: old protocols, macros that don't come, settings, sockets."""

import grp
import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import milter_table as table
from support.daemon import Daemon, closedmail, connect
from support.milter_table import RIGHT, WRONG, make_clients
from support.real import find

pytestmark = pytest.mark.real("miltertest", "openssl")

# Says after each message what was answered to the recipient and to the message: c (continue), t (temporary failure), or
# a reply code; and what was changed. `negotiate` may be nil: then version 6 with everything.
LUA = """
local conn = mt.connect(where)
assert(conn, "no connection")
if version then assert(mt.negotiate(conn, version, actions, steps) == nil) end
mt.macro(conn, SMFIC_CONNECT, "j", "gateway.city.example")
assert(mt.conninfo(conn, "client.example", client) == nil)
pcall(mt.helo, conn, "client.example")  -- an error where the milter has no use for it
for _, mail in ipairs(mails) do
    mt.macro(conn, SMFIC_MAIL, "i", "Q1", table.unpack(mail.macros or {}))
    assert(mt.mailfrom(conn, mail.sender) == nil)
    assert(mt.rcptto(conn, "<office@city.example>") == nil)
    local said = string.char(mt.getreply(conn))
    local changes = ""
    if said == "c" then
        for _, field in ipairs(mail.fields or {}) do
            assert(mt.header(conn, field[1], field[2]) == nil)
        end
        pcall(mt.eoh, conn)
        assert(mt.eom(conn) == nil)
        said = said .. string.char(mt.getreply(conn))
        if mt.eom_check(conn, MT_HDRINSERT, "Authentication-Results") then changes = changes .. "+" end
        if mt.eom_check(conn, MT_HDRDELETE, "Authentication-Results", 1) then changes = changes .. "1" end
        if mt.eom_check(conn, MT_HDRDELETE, "Authentication-Results", 2) then changes = changes .. "2" end
    else
        mt.abort(conn)
    end
    print("> " .. said .. changes)
end
mt.disconnect(conn)
"""
TLS = ["{tls_version}", "TLSv1.3"]
ALL = ["{client_addr}", RIGHT, "v", "8.17.1.9"]


def lua(value: object) -> str:
    """A value in Lua."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "{" + ", ".join(map(lua, value)) + "}"
    return "nil" if value is None else json.dumps(value)


def speak(
    where: str,
    *mails: dict[str, object],
    client: str = RIGHT,
    version: int | None = None,
    actions: int = 0,
    steps: int = 0,
) -> list[str]:
    """What miltertest sees of these mails in one session."""
    given = {"where": where, "client": client, "version": version, "actions": actions, "steps": steps, "mails": mails}
    script = "".join(f"{name} = {lua(value)}\n" for name, value in given.items()) + textwrap.dedent(LUA)
    miltertest = find("miltertest")
    assert miltertest
    done = subprocess.run([miltertest], input=script, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line[2:] for line in done.stdout.splitlines() if line.startswith("> ")]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gateway")
    text, lines = table.write_gateway(make_clients(folder / "certificates"), str(folder), f"unix:{folder}/milter.sock")
    (folder / "list").write_text(lines)
    (folder / "closedmail.toml").write_text(text)
    assert closedmail("sync", config=folder / "closedmail.toml").status == 0
    return folder / "closedmail.toml"


@pytest.fixture(scope="module")
def milter(config: Path) -> Iterator[Daemon]:
    with Daemon(config, command="milter") as daemon:
        yield daemon


def mail(sender: str, *fields: tuple[str, str], macros: list[str] | None = None) -> dict[str, object]:
    return {"sender": f"<{sender}>", "fields": fields, "macros": macros or []}


MARK = ("Authentication-Results", f"{table.ID}; x-closedmail=pass")
OTHER = ("Authentication-Results", "mx.example; spf=pass")


def test_messages(milter: Daemon) -> None:
    mails = [
        mail("u@koeln.example", OTHER, MARK),
        mail("u@named.example"),
        mail("u@stranger.example", MARK, OTHER),
        mail("u@koeln.example"),
        mail("", ("From", "u@named.example")),
        mail("u@defer.example"),
    ]
    # Without macros that were asked for, TLS and certificates are unknown: neither refused nor marked.
    assert speak(milter.where[0], *mails) == ["cc+2", "cc", "cc1", "cc+", "cc", "cc+"]
    complete = [dict(each, macros=ALL) for each in mails]
    assert speak(milter.where[0], *complete) == ["cc+2", "y", "cc1", "cc+", "cy", "cc+"]
    elsewhere = [dict(each, macros=["{client_addr}", WRONG, "v", "8.17.1.9"]) for each in mails]
    assert speak(milter.where[0], *elsewhere) == ["y", "y", "cc1", "y", "cy", "y"]


# Versions of the protocol, and what the MTA offers: actions, and steps that it may leave out.
OFFERS = [(2, 0x3F, 0x7F), (4, 0x3F, 0x7F), (6, 0x1FF, 0x1FFFFF), (6, 0, 0)]


@pytest.mark.parametrize(("version", "actions", "steps"), OFFERS)
def test_protocols_of_older_mtas(milter: Daemon, version: int, actions: int, steps: int) -> None:
    """What can't be asked for is unknown; what was refused stays refused."""
    mails = [
        mail("u@koeln.example"),
        mail("u@tls.example"),
        mail("u@tls.example", macros=TLS),
        mail("", ("From", table.P)),
    ]
    answers = speak(milter.where[0], *mails, client=WRONG, version=version, actions=actions, steps=steps)
    assert [answer[-1] for answer in answers] == ["y", "y", "y", "y"]
    answers = speak(milter.where[0], *mails, client=RIGHT, version=version, actions=actions, steps=steps)
    assert [answer[:2] for answer in answers] == ["cc", "cc", "cc", "cc"]


# Settings and sockets


def listening(folder: Path, *where: str) -> list[str]:
    return [word for each in where for word in ("--listen", each.replace("FOLDER", str(folder)))]


def test_several_sockets(config: Path, tmp_path: Path) -> None:
    where = listening(tmp_path, "unix:FOLDER/a.sock", "inet:127.0.0.1:0", "inet:[::1]:0", "unix:FOLDER/new/b.sock")
    with Daemon(config, *where, command="milter") as daemon:
        assert len(daemon.where) == 4
        for each in daemon.where:
            host, _, port = each.removeprefix("inet:").rpartition(":")
            if "[" in host:
                connect(each).close()  # miltertest knows no IPv6
                continue
            place = f"inet:{port}@{host}" if each.startswith("inet:") else each
            assert speak(place, mail("u@koeln.example", macros=["{client_addr}", WRONG])) == ["y"]
        daemon.wait_for(r"verdict=reject .* door=milter$", 3)
        assert daemon.stop() == 0
    assert list(tmp_path.rglob("*.sock")) == []


@pytest.mark.real("root")
def test_mode_and_group(config: Path, tmp_path: Path) -> None:
    text = config.read_text().replace('socket_mode = "0666"', 'socket_mode = "0620"\nsocket_group = "mail"')
    changed = tmp_path / "closedmail.toml"
    changed.write_text(text)
    where = f"unix:{tmp_path}/a.sock"
    with Daemon(changed, "--listen", where, command="milter") as daemon:
        status = (tmp_path / "a.sock").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o620, grp.getgrnam("mail").gr_gid)
        changed.write_text(text.replace("0620", "0600"))
        daemon.reload()
        assert stat.S_IMODE((tmp_path / "a.sock").stat().st_mode) == 0o600
        changed.write_text(text.replace('"mail"', '"no-such-group"'))
        daemon.reload()
        assert "milter.socket_group: there is no group" in daemon.log()
        assert daemon.running


def test_reload(config: Path, tmp_path: Path) -> None:
    """New sockets are opened, old ones closed, the others go on; a new authserv_id counts for the next message."""
    text = config.read_text()
    changed = tmp_path / "closedmail.toml"

    def write(*names: str, authserv_id: str = table.ID) -> None:
        where = ", ".join(f'"unix:{tmp_path}/{name}"' for name in names)
        lines = [f"listen = [{where}]" if line.startswith("listen") else line for line in text.splitlines()]
        changed.write_text("\n".join(lines).replace(table.ID, authserv_id))

    write("a", "b")
    with Daemon(changed, command="milter") as daemon:
        children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
        before = set(children.read_text().split())
        write("b", "c", authserv_id="new.city.example")
        daemon.reload()
        assert sorted(path.name for path in tmp_path.iterdir() if path.is_socket()) == ["b", "c"]
        assert len(before & set(children.read_text().split())) == 1
        new = ("Authentication-Results", "new.city.example; x-closedmail=pass")
        for name in ("b", "c"):
            deadline = 100
            while speak(f"unix:{tmp_path}/{name}", mail("", new, MARK)) != ["cc1"] and deadline:
                deadline -= 1
            assert speak(f"unix:{tmp_path}/{name}", mail("", new, MARK)) == ["cc1"]
        changed.write_text("[gateway]\n")
        daemon.reload()
        assert "going on with the configuration from before" in daemon.log()
        assert speak(f"unix:{tmp_path}/b", mail("u@koeln.example")) == ["cc+"]


def test_sockets_that_are_taken(config: Path, milter: Daemon, tmp_path: Path) -> None:
    said = closedmail("milter", config=config)
    assert (said.status, said.error) == (
        1,
        f"can't listen on {milter.where[0].removeprefix('unix:')}: another process does; stop it first",
    )
    (tmp_path / "file").write_text("")
    said = closedmail("milter", *listening(tmp_path, "unix:FOLDER/ok.sock", "unix:FOLDER/file"), config=config)
    assert (said.status, "is no socket" in said.error) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with Daemon(config, "--listen", "inet:127.0.0.1:0", command="milter") as daemon:
        said = closedmail("milter", "--listen", daemon.where[0], config=config)
        assert (said.status, "Address already in use" in said.error) == (1, True)
    assert closedmail("milter", "--listen", "unix:relative", config=config).status == 2


def test_a_socket_that_was_left_is_taken_over(config: Path, tmp_path: Path) -> None:
    where = f"unix:{tmp_path}/left.sock"
    first = Daemon(config, "--listen", where, command="milter")
    with first:
        left = tmp_path / "kept"
        os.link(tmp_path / "left.sock", left)
    left.rename(tmp_path / "left.sock")
    with pytest.raises(ConnectionRefusedError):
        connect(where)
    with Daemon(config, "--listen", where, command="milter"):
        assert speak(where, mail("u@koeln.example")) == ["cc+"]


def test_counters_beside_those_of_policyd(config: Path, tmp_path: Path) -> None:
    """Each daemon has a file of its own, and `status` sums them up."""
    folder = tmp_path / "gateway"
    shutil.copytree(config.parent, folder, ignore=shutil.ignore_patterns("*.sock", "counters*"))
    copied = folder / "closedmail.toml"
    copied.write_text(config.read_text().replace(str(config.parent), str(folder)))
    where = f"unix:{folder}/m.sock"
    for _ in range(2):  # kept over a restart
        with (
            Daemon(copied, "--listen", where, command="milter") as milter,
            Daemon(copied, "--listen", f"unix:{folder}/p.sock") as policyd,
        ):
            speak(where, mail("u@koeln.example"), mail("u@defer.example"))
            assert policyd.ask(sender="u@koeln.example", client_address=WRONG, instance="1") != "DUNNO"
            assert (milter.stop(), policyd.stop()) == (0, 0)
    status = closedmail("status", "--json", config=copied).json
    hanging = [each.partition(".inbound.")[0] for each in status["problems"] if "header_from can't be enforced" in each]
    assert hanging == ['partner."print.example"', 'partner."pubkey.example"', 'partner."either.example"']
    counters = status["counters"]
    assert counters["networks"]["ndb"]["total"] == {"accept": 4, "reject": 2}
    assert counters["networks"]["ndb"]["partners"]["koeln.example"] == {"accept": 2, "reject": 2}


def test_without_pymilter(config: Path) -> None:
    """One line says what to install, and policyd does without it."""
    program = (
        "import sys; sys.modules['milter'] = None; sys.argv = ['closedmail', *sys.argv[1:]]; "
        "from closedmail.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--config", config, "milter"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "closedmail: error: pymilter is missing: install python3-milter (Debian) or closedmail[milter] (pip)\n"
    )
