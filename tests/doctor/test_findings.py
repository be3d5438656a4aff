"""The table of findings: each id is used, is in the manual page in the same words, and is fixed in its phase."""

import ast
import re
from pathlib import Path

import pytest

from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.finding_ids import FINDINGS, Phase

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "closedmail" / "doctor").rglob("*.py"))
# Ids that no literal has: `NAME-map`.
MADE = {"mailertable-map", "access-map"}


def literals() -> set[str]:
    """All texts in the source of doctor but its table."""
    trees = (ast.parse(path.read_text()) for path in SOURCES if path.stem != "finding_ids")
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def first_arguments() -> set[object]:
    """What stands first in `Finding.of(…)`, where it is a literal."""
    nodes = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text())))
    calls = (node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding.of")
    return {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}


def test_every_id_is_used() -> None:
    assert set(FINDINGS) - literals() == MADE
    assert first_arguments() <= set(FINDINGS)
    assert len(first_arguments()) > 50


def test_an_id_that_is_not_in_the_table() -> None:
    with pytest.raises(KeyError):
        Finding.of("nothing-of-the-kind", "")


def test_the_manual_page_lists_them() -> None:
    """Every id, with its meaning, by severity and sorted."""
    page = (ROOT / "docs" / "man" / "closedmail-doctor.8").read_text()
    section = page.partition(".Sh FINDINGS\n")[2].partition("\n.Sh ")[0]
    found: dict[str, list[tuple[str, str]]] = {"error": [], "warning": []}
    severity = ""
    for line, following in zip(section.splitlines(), section.splitlines()[1:], strict=False):
        if match := re.fullmatch(r"\.Ss (Errors|Warnings)", line):
            severity = match[1].lower().removesuffix("s")
        elif line.startswith(".It Cm "):
            found[severity].append((line.removeprefix(".It Cm "), following))
    for wanted, listed in found.items():
        kinds = sorted((name, kind.meaning) for name, kind in FINDINGS.items() if kind.severity == wanted)
        assert listed == kinds


@pytest.mark.parametrize("name", FINDINGS)
def test_meanings_are_sentences(name: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert re.fullmatch(r"[A-Za-z].{10,99}\.", FINDINGS[name].meaning)


def test_severity_and_who_decides() -> None:
    fix = Fix.chmod("0755", "/a")
    usual = Finding.of("milter-flags", "text", (fix,))
    assert (usual.severity, usual.phase, usual.by_hand) == ("error", Phase.CONFIGURE, False)
    other = Finding.of("milter-flags", "text", (fix,), severity="warning", by_hand=True)
    assert (other.severity, other.by_hand, other.fixes[0].by_hand) == ("warning", True, True)
    assert other.fix == usual.fix


def test_no_shell_text_is_parsed() -> None:
    for path in SOURCES:
        assert "shlex.split" not in path.read_text(), path
