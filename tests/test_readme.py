"""README.md and its German quick start: the same commands and configuration, and a table of contents that is right."""

import re
from pathlib import Path

from closedmail.config import parse

README, GERMAN = (Path(__file__).parents[1] / name for name in ("README.md", "README.de.md"))


def quick_start(path: Path, heading: str) -> str:
    """A section of a README, without its heading."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", path.read_text("utf-8"), re.M | re.S)
    assert found, heading
    return found[1]


def code_blocks(text: str) -> list[str]:
    """The fenced blocks, without comments, which are translated."""
    blocks = re.findall(r"^```(?:sh|toml|)\n(.*?)^```", text, re.M | re.S)
    return [re.sub(r"[ \t]+#.*$", "", block, flags=re.M) for block in blocks]


def test_german_quick_start() -> None:
    """Its commands and its configuration are those of the README, in the same order."""
    english = code_blocks(quick_start(README, "Quick start on Debian"))
    assert code_blocks(quick_start(GERMAN, "Schnellstart auf Debian")) == english
    assert len(english) == 5


def test_german_reasons_and_codes() -> None:
    """What a refusal means has all reasons and codes of the README's tables, and the READMEs name each other."""
    tables = (quick_start(README, "What a refusal means"), quick_start(GERMAN, "Was eine Ablehnung bedeutet"))
    english, german = (
        [re.findall(r"`[^`]+`", row) for row in re.findall(r"^\| (`.*?) \|", text, re.M)] for text in tables
    )
    assert german == english
    assert len(english) >= 15
    assert "](README.de.md)" in README.read_text("utf-8")
    assert "](README.md)" in GERMAN.read_text("utf-8")


def test_quick_start_configuration_loads() -> None:
    """Nothing but what it shows is needed."""
    blocks = re.findall(r"^```toml\n(.*?)^```", quick_start(README, "Quick start on Debian"), re.M | re.S)
    assert blocks
    for block in blocks:
        assert parse(block).networks


def test_table_of_contents() -> None:
    """The README's contents name its sections, in their order."""
    text = README.read_text("utf-8")
    sections = re.findall(r"^## (.*)$", text, re.M)
    contents = re.findall(r"^- \[(.*?)\]\(#(.*?)\)", quick_start(README, "Contents"), re.M)
    assert [name for name, _ in contents] == sections[1:]
    for name, anchor in contents:
        assert re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") == anchor
