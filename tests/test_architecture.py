"""The floor plan of docs/design.md, as imports: arrows run downwards only, and the core does no I/O."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import closedmail

ROOT = Path(closedmail.__file__).parent
# What each floor may import of ours, beside itself.
BELOW = {
    "core": {"errors"},
    "config": {"core", "errors"},
    "publish": {"core", "errors", "store"},
    "store": {"core", "errors"},
    "lists": {"core", "errors", "publish", "store"},
    "sync": {"config", "core", "errors", "lists", "publish", "store"},
    "doors": {"config", "core", "errors", "publish", "store"},
    "exports": {"core", "errors"},
    "care": {"core", "doors", "errors", "exports", "lists", "publish", "store", "sync"},
}
IO = {
    "asyncio",
    "gnupg",
    "lmdb",
    "os",
    "pathlib",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "time",
    "urllib",
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, by its whole name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("floor", BELOW)
def test_imports_run_downwards(floor: str) -> None:
    ours = {
        name.split(".")[1]
        for path in (ROOT / floor).rglob("*.py")
        for name in imports(path)
        if name.startswith("closedmail.")
    }
    assert ours <= BELOW[floor] | {floor}


@pytest.mark.parametrize(("floor", "imported"), [("core", "ipaddress"), ("exports", "textwrap")])
def test_the_core_and_the_exports_do_no_io(floor: str, imported: str) -> None:
    found = {name.split(".")[0] for path in (ROOT / floor).rglob("*.py") for name in imports(path)}
    assert imported in found
    assert not found & IO
