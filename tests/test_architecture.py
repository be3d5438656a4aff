"""The plan of docs/design.md, as imports: arrows run downwards only, and what decides does no I/O. The page is true."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import structure

CHECKOUT = Path(__file__).parents[1]

# Modules of the standard library and of others that reach beyond the process, its memory or its instant.
IO = {
    *("Milter", "asyncio", "fcntl", "gnupg", "http.client", "http.server", "lmdb", "milter", "mmap", "os", "pathlib"),
    *("select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "time"),
    *("urllib.request",),
}
# Who may use them, room by room; cli/ and demo/ as they like. A room that is not named decides, parses or renders.
MAY_DO_IO = {
    "folders": "folders",
    "files": "files",
    "programs": "programs",
    "maps": "local_rows_file own_rows_file",
    "owner": "child packed_errors python_files",
    "store": "environment private_copy snapshot writer",
    "mta": "own_addresses own_tables postconf postfix_settings sendmail_client",
    "config": "config config_files readable",
    "lists": "envelope fetch fetch_log gpg https_source obtain openpgp packets suffix_file transfer",
    "publish": "built_maps makemap postfix_maps postmap regexp_table sendmail_maps standing_maps switch",
    "daemon": "counters_file listener servers socket_peer socket_query systemd_notify systemd_sockets",
    "policyd": "metrics metrics_http policy_connection policy_daemon policy_health",
    "milter": "milter_callbacks milter_child milter_daemon milter_health milter_process milter_service",
    "sync": "in_force lock locked_run network_list own_row_check publication run",
    "compare": "old_map",
    "exports": "export_files export_signature",
    "status": "list_state map_check status textfile traffic",
    "probe": "attempt mail_hosts posttls_finger probe probe_file tls_client",
    "replay": "log_files",
    "report": "monitoring_files report",
    "doctor": "chmod_fixes fix_command listening_state path_access postfix_machine queue_hold running_state"
    " sendmail_inspection sendmail_machine setup setup_record undo",
}
FREE = {"cli", "demo"}


def io_of(module: str) -> set[str]:
    """What a module imports of `IO`."""
    names = set(structure.imported_names(structure.MODULES[module]))
    return {io for io in IO if any(name == io or name.startswith(io + ".") for name in names)}


def test_arrows_run_downwards() -> None:
    assert structure.arrows_upwards() == []
    assert structure.circles() == []


@pytest.mark.parametrize("room", sorted({structure.room_of(module) for module in structure.MODULES} - FREE))
def test_who_may_do_io(room: str) -> None:
    """Exactly the modules that are named, so that one that no longer does I/O leaves the table."""
    found = {
        module.partition(".")[2] or module
        for module in structure.MODULES
        if structure.room_of(module) == room and io_of(module)
    }
    assert found == set(MAY_DO_IO.get(room, "").split())


def test_every_room_is_in_the_plan() -> None:
    assert {structure.room_of(module) for module in structure.MODULES} <= set(structure.ROOMS)
    assert set(MAY_DO_IO) <= set(structure.ROOMS)


def test_imports_are_seen() -> None:
    """What the tests above stand on: direct imports, `from` a package, and of modules within it."""
    assert "core.domain" in structure.GRAPH["inbound.partner"]
    assert "lists.openpgp" in structure.GRAPH["lists.obtain"]
    assert io_of("files") >= {"os", "pathlib"}
    assert "mailertable.grammar" in structure.reachable("sync.run")


# The page.


@pytest.fixture(scope="module")
def page() -> str:
    return (CHECKOUT / "docs" / "design.md").read_text(encoding="utf-8")


def test_rooms_of_the_page(page: str) -> None:
    """The plan has each room once, from the top to the ground."""
    table = page.partition("| room |")[2].partition("\n\n")[0]
    cells = " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
    rooms = [name.removesuffix("/").removesuffix(".py") for name in re.findall(r"`([^`]+)`", cells)]
    assert rooms == [room for room in reversed(structure.ROOMS) if room not in {"__init__", "__main__"}]


def test_measures_of_the_page(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What scripts/structure prints, each with its aim; words may stand behind a measure's name."""
    structure.main()
    printed = re.findall(r"^(\w[^:,\n]*).*: [\d.]+ \(at most (\d+)\)$", capsys.readouterr().out, re.MULTILINE)
    table = page.partition("| measure |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\w.*?) \| (\d+) \|$", table, re.MULTILINE)
    assert len(rows) == len(printed) == 9
    for (words, limit), (name, aim) in zip(rows, printed, strict=True):
        assert (words[: len(name)], limit) == (name, aim)


def test_paths_of_the_page(page: str) -> None:
    """Every module, folder, test and script that the page names is there, by its whole path below closedmail/."""
    spans = set(re.findall(r"`([\w./-]+)`", page)) - {"cli/NAME_command.py", "NAME_command.py"}
    paths = {span for span in spans if span.endswith((".py", "/")) or span.startswith(("tests/", "scripts/"))}
    assert len(paths) > 100
    roots = CHECKOUT / "closedmail", CHECKOUT
    assert sorted(path for path in paths if not any((root / path).exists() for root in roots)) == []
    for module, name in re.findall(r"`([a-z_]+)\.([A-Z]\w+)`", page):
        places = [path for path in structure.MODULES.values() if path.stem == module]
        assert any(f"class {name}" in path.read_text(encoding="utf-8") for path in places), (module, name)
