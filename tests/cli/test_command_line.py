"""The command line as a whole: where the configuration comes from, what an error looks like, and who may read what."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import Output, closedmail, closedmail_as, closedmail_inside
from support.gateway import LIST, Gateway, make_gateway

from closedmail import __version__
from closedmail.cli.main import main

COMMANDS = [
    *(
        "check",
        "demo",
        "explain",
        "export",
        "history",
        "lint",
        "milter",
        "policyd",
        "release",
        "replay",
        "rollback",
        "status",
    ),
    "sync",
]
NEED_CONFIGURATION = [
    ["explain", "--sender", "a@b.example", "--client-address", "192.0.2.1"],
    ["explain", "--recipient", "a@b.example"],
    ["export", "mailertable"],
    ["history"],
    ["milter"],
    ["policyd"],
    ["release", "b.example"],
    ["replay", "/var/log/mail.log"],
    ["rollback", "1"],
    ["status"],
    ["status", "--json"],
    ["sync"],
    ["sync", "--dry-run", "--json"],
]
ASKED = ["explain", "--sender", "u@koeln.example", "--client-address", "192.0.2.9"]
NOBODY = 65534  # the user of that name, on every Debian


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return make_gateway(tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def open_gateway(open_directory: Path) -> Gateway:
    """One that other users can reach."""
    gateway = make_gateway(open_directory / "gateway")
    gateway.folder.chmod(0o755)
    return gateway


# Help


def test_summaries_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """click cuts a summary that is too long for 80 columns, and says so by three dots."""
    monkeypatch.setenv("COLUMNS", "80")
    said = closedmail("--help", config=Path("/nowhere/closedmail.toml")).stdout
    summaries = said.partition("Commands:\n")[2].splitlines()
    assert len(summaries) >= 16
    assert all(line.endswith(".") and not line.endswith("...") for line in summaries), said


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(option: str) -> None:
    said = closedmail(option)
    assert (said.status, said.stderr) == (0, "")
    for command in COMMANDS:
        assert f"\n  {command} " in said.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str) -> None:
    """It needs no configuration."""
    said = closedmail(command, "--help", config=Path("/nowhere/closedmail.toml"))
    assert (said.status, said.stderr) == (0, "")
    assert said.stdout.startswith(f"Usage: closedmail {command} ")


def test_version() -> None:
    said = closedmail("--version")
    assert (said.status, said.stdout, said.stderr) == (0, f"closedmail, version {__version__}\n", "")


def test_the_installed_command_is_the_module() -> None:
    script = Path(sys.executable).with_name("closedmail")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"closedmail, version {__version__}\n")


# Usage


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["no-such-command"], "No such command 'no-such-command'."),
        (["--no-such-option"], "No such option: --no-such-option"),
        (["--config"], "Option '--config' requires an argument."),
        (["status", "--no-such-option"], "No such option: --no-such-option"),
        (["status", "superfluous"], "Got unexpected extra argument (superfluous)"),
        (["sync", "--network"], "Option '--network' requires an argument."),
        (["lint"], "Missing argument 'FILE'."),
        (["policyd", "--listen"], "Option '--listen' requires an argument."),
        # It stands before the command.
        (["status", "--config", "/etc/closedmail/closedmail.toml"], "No such option: --config"),
    ],
    ids=repr,
)
def test_usage_errors(arguments: list[str], error: str) -> None:
    said = closedmail(*arguments)
    newer = re.sub(r"option: (\S+)$", r"option '\1'.", error)  # as newer versions of click say it
    assert (said.status, said.error in (error, newer)) == (2, True), said


def test_without_a_command() -> None:
    """The help, in lines, whatever the version of click does by itself."""
    done = subprocess.run([sys.executable, "-P", "-m", "closedmail"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: closedmail [OPTIONS] COMMAND [ARGS]...\n\n")
    assert "\n  sync      Fetch and verify the lists, and put them in force.\n" in done.stderr


# The configuration


def test_where_the_configuration_comes_from(gateway: Gateway, tmp_path: Path) -> None:
    wrong = str(tmp_path / "wrong.toml")
    named = {"CLOSEDMAIL_CONFIG": str(gateway.config)}
    assert closedmail(*ASKED, environment=named).status == 1
    assert closedmail(*ASKED, config=gateway.config, environment={"CLOSEDMAIL_CONFIG": wrong}).status == 1
    said = closedmail(*ASKED, config=Path(wrong), environment=named)
    assert (said.status, said.error.startswith(f"{wrong}: no such file; ")) == (2, True)


def test_a_relative_path(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(gateway.folder)
    assert closedmail(*ASKED, config=Path(gateway.config.name)).status == 1


@pytest.mark.parametrize("arguments", NEED_CONFIGURATION, ids=" ".join)
def test_a_configuration_that_is_missing_or_broken(tmp_path: Path, arguments: list[str]) -> None:
    config = tmp_path / "closedmail.toml"
    said = closedmail_inside(*arguments, config=config)
    assert (said.status, str(config) in said.error) == (2, True)
    config.write_text('[gateway]\nown_domains = ["city.example"')
    said = closedmail_inside(*arguments, config=config)
    assert (said.status, str(config) in said.error) == (2, True)
    config.write_text('[gateway]\nown_domains = ["city.example"]\n[policyd]\nlitsen = []\n')
    said = closedmail_inside(*arguments, config=config)
    assert (said.status, said.error) == (2, 'policyd.litsen: unknown key; did you mean "listen"?')
    config.unlink()
    config.mkdir()
    said = closedmail_inside(*arguments, config=config)
    assert (said.status, "Is a directory" in said.error) == (2, True)


def test_a_path_that_is_no_text() -> None:
    said = closedmail("status", config=Path(os.fsdecode(b"/nowhere/\xff\n.toml")))
    assert said.status == 2
    assert said.error


def test_an_unknown_network_is_a_usage_error(gateway: Gateway) -> None:
    said = closedmail_inside("sync", "--network", "nowhere", config=gateway.config)
    assert said.status == 2
    assert said.error == "--network: unknown network 'nowhere' (configured: ndb)"


# Output

JSON = [
    [*ASKED, "--json"],
    ["explain", "--recipient", "u@koeln.example", "--json"],
    ["status", "--json"],
    ["sync", "--json"],
    ["sync", "--dry-run", "--json"],
    ["lint", "--json", "LIST"],
    ["check", "--json"],
]


@pytest.mark.parametrize("arguments", JSON, ids=" ".join)
def test_json_is_one_object_and_nothing_else(gateway: Gateway, arguments: list[str]) -> None:
    chosen = [str(gateway.list) if part == "LIST" else part for part in arguments]
    said = closedmail(*chosen, config=gateway.config)
    assert said.stderr == ""
    assert said.stdout.startswith("{")
    assert said.stdout.endswith("}\n")
    assert isinstance(json.loads(said.stdout), dict)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
@pytest.mark.parametrize("encoding", ["", "ascii", "latin-1"])
def test_output_in_any_locale(tmp_path: Path, locale: str, encoding: str) -> None:
    """What is said holds characters that not every terminal has."""
    bad = tmp_path / "list"
    bad.write_text("ungültig…\u2028\n" * 3)
    environment = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if encoding:
        environment["PYTHONIOENCODING"] = encoding
    config = make_gateway(tmp_path / "gateway").config
    for arguments in (["lint", str(bad)], ["lint", "--json", str(bad)]):
        said = closedmail(*arguments, config=config, environment=environment)
        assert (said.status, said.stderr) == (1, "")
        assert said.stdout
        if "--json" in arguments:
            assert [line["text"] for line in said.json["bad"]] == ["ungültig…\u2028"] * 3
            assert all(line.isprintable() for line in said.stdout.split("\n"))


def shell(script: str, gateway: Gateway) -> Output:
    """Run a line of shell in which $closedmail is the command."""
    command = shlex.join([sys.executable, "-m", "closedmail", "--config", str(gateway.config)])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script.replace("$closedmail", command)],  # noqa: S607  Debian's
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Output(done.returncode, done.stdout, done.stderr)


# What a command is asked, its exit status when all that it says is read, and whether it says something on stdout.
STATUSES = {
    "--help": (0, True),
    "sync": (0, True),
    "export json": (0, True),
    "lint LIST": (0, True),
    "check": (0, True),
    "status --json": (1, True),
    shlex.join(ASKED): (1, True),
    "release aachen.example": (1, False),
    "no-such-command": (2, False),
    "--config /nowhere/closedmail.toml status": (2, False),
    "--config /nowhere/closedmail.toml status --nagios": (3, True),
}


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python is by itself; many a container has it write at once."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.mark.parametrize("command", STATUSES)
def test_nobody_reads_the_output(gateway: Gateway, command: str) -> None:
    """The exit status is that of the work; output that a full disk has not taken is a failure, and is said."""
    asked = command.replace("LIST", shlex.quote(str(gateway.list)))
    status, speaks = STATUSES[command]
    gone, closed = (shell(f"$closedmail {asked} {nowhere}", gateway) for nowhere in ("| head -0", ">&-"))
    assert (gone.status, closed.status) == (status, status)
    assert gone.stderr == closed.stderr
    full = shell(f"$closedmail {asked} >/dev/full", gateway)
    if speaks:
        assert gone.stderr == ""
        assert (full.status, full.error) == (status or 1, "standard output: No space left on device")
    else:
        assert (full.status, full.error) == (status, gone.error)


@pytest.mark.parametrize("command", STATUSES)
def test_nobody_reads_the_errors(gateway: Gateway, command: str) -> None:
    """Then they are not said; the exit status stays what it is, and so does the output."""
    asked = command.replace("LIST", shlex.quote(str(gateway.list)))
    status, speaks = STATUSES[command]
    for nowhere in ("2>/dev/full", "2>&-"):
        said = shell(f"$closedmail --verbose {asked} {nowhere}", gateway)
        assert (said.status, said.stdout != "", said.stderr) == (status, speaks, ""), nowhere


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("asked", "status"), [("--version", 1), ("no-such-command", 2)])
def test_nobody_reads_anything(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, unbuffered: str, asked: str, status: int
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    assert shell(f"$closedmail {asked} >/dev/full 2>&1", gateway).status == status
    assert shell(f"$closedmail {asked} 2>&1 | head -0", gateway).status == (0 if asked == "--version" else status)


def test_work_goes_on_when_the_reader_has_gone(tmp_path: Path) -> None:
    """What a command does behind its output is done all the same."""
    own = make_gateway(tmp_path)
    for nowhere in ("| head -0", ">/dev/full"):
        place = tmp_path / "closedmail.prom"
        assert shell(f"$closedmail status --textfile {place} {nowhere}", own).status == 1
        place.unlink()


def test_an_export_ends_with_its_reader(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that nobody reads are not even made."""
    made = []

    def chunks(*_: object) -> Iterator[bytes]:
        for number in range(100):
            made.append(number)
            yield b"x" * 100_000

    monkeypatch.setattr("closedmail.cli.export_command.chunks", chunks)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as gone, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", gone)
        patch.setattr(sys, "argv", ["closedmail", "--config", str(gateway.config), "export", "csv"])
        with pytest.raises(SystemExit) as end:
            main()
    assert (end.value.code, made) == (0, [0])


# Permissions


@pytest.mark.real("root")
def test_a_state_directory_without_permission(open_gateway: Gateway) -> None:
    state = open_gateway.state_dir
    state.chmod(0o700)
    for arguments in (ASKED, ["explain", "--recipient", "u@koeln.example"], ["sync"], ["sync", "--json"]):
        said = closedmail_as(NOBODY, *arguments, config=open_gateway.config)
        assert (said.status, str(state) in said.error) == (1, True)
    said = closedmail_as(NOBODY, "status", "--json", config=open_gateway.config)
    assert (said.status, said.stderr, said.json["state"]) == (1, "", "critical")
    assert closedmail_as(NOBODY, "lint", str(open_gateway.list), config=open_gateway.config).status == 0


@pytest.mark.real("root")
def test_sync_as_a_stranger_changes_nothing(open_gateway: Gateway) -> None:
    """The state directory can be read, and not written to."""
    open_gateway.write_list([*LIST, "new.example esmtp:[192.0.2.30]"])
    said = closedmail_as(NOBODY, "sync", config=open_gateway.config)
    assert (said.status, str(open_gateway.state_dir) in said.error) == (1, True)
    assert closedmail("status", "--json", config=open_gateway.config).json["generation"] == 1


@pytest.mark.real("root")
def test_files_without_permission(open_gateway: Gateway) -> None:
    open_gateway.list.chmod(0o600)
    said = closedmail_as(NOBODY, "lint", str(open_gateway.list), config=open_gateway.config)
    assert (said.status, said.error) == (1, f"{open_gateway.list}: Permission denied")
    open_gateway.config.chmod(0o600)
    for arguments in (ASKED, ["status"], ["policyd"], ["lint", str(open_gateway.list)]):
        said = closedmail_as(NOBODY, *arguments, config=open_gateway.config)
        assert (said.status, "Permission denied" in said.error) == (2, True), (arguments, said)


@pytest.mark.real("root")
def test_the_usual_configuration_cannot_even_be_looked_for(
    open_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_gateway.folder / "etc"
    closed.mkdir(mode=0o700)
    usual = closed / "closedmail.toml"
    usual.write_text(open_gateway.config.read_text())
    for module in ("closedmail.cli.main", "closedmail.cli.lint_command"):
        monkeypatch.setattr(f"{module}.DEFAULT_CONFIG", str(usual))
    said = closedmail_as(NOBODY, "lint", str(open_gateway.list), config=usual)
    assert (said.status, "Permission denied" in said.error) == (2, True)


@pytest.mark.real("root")
def test_sockets_where_one_may_not_make_them(open_gateway: Gateway) -> None:
    said = closedmail_as(
        NOBODY, "policyd", "--listen", f"unix:{open_gateway.folder}/p.sock", config=open_gateway.config
    )
    assert (said.status, said.error) == (1, f"can't listen on {open_gateway.folder}/p.sock: Permission denied")
