"""Spellings of recipients that Postfix or its DNS client takes for a partner's: none leaves by the public MX."""

import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import idna
import pytest
from support.real import require
from support.spelling_bench import CLOSED, ENTRANCES, NEEDS, PARTNERS, STRANGERS, Outcome, send_all
from support.spellings import a_label, right, spellings

from closedmail.core.domain import to_unicode
from closedmail.maps.unusual_spellings import UNUSUAL, USUAL, is_unusual, unusual_table

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import unusual_spellings as generator


@pytest.fixture(scope="module")
def outcomes() -> Iterator[list[Outcome]]:
    require(*NEEDS)
    with tempfile.TemporaryDirectory(prefix="closedmail-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield send_all(folder)


@pytest.mark.real(*NEEDS)
def test_no_spelling_of_a_partner_leaves_by_the_public_mx(outcomes: list[Outcome]) -> None:
    ours = [each for each in outcomes if each.kind != "stranger"]
    assert len(ours) > 2000
    assert {each.entrance for each in ours} == set(ENTRANCES)
    assert [each for each in ours if each.public] == []
    for each in ours:
        refused = {"5.1.3", "5.4.4"} if each.kind == "closed" else {"5.1.3", "4.3.2"}  # 4.3.2: straße, for Postfix
        assert each.partner or each.dsn in refused, each
        assert not (each.kind == "closed" and each.partner), each


@pytest.mark.real(*NEEDS)
def test_right_spellings_of_a_partner_are_routed(outcomes: list[Outcome]) -> None:
    wanted = {text for name in PARTNERS if name != "straße.example" for text in right(name)}
    found = [each for each in outcomes if each.kind == "partner" and each.address.partition("@")[2] in wanted]
    assert len(found) >= len(wanted) * 3
    assert [each for each in found if not each.partner] == []


@pytest.mark.real(*NEEDS)
def test_no_stranger_is_refused(outcomes: list[Outcome]) -> None:
    strangers = [each for each in outcomes if each.kind == "stranger"]
    assert len(strangers) >= len(STRANGERS) * len(ENTRANCES)
    assert [each for each in strangers if not each.public] == []


def test_what_is_unusual() -> None:
    assert [name for name in UNUSUAL if not is_unusual(name)] == []
    assert [name for name in (*USUAL, *STRANGERS) if is_unusual(name)] == []
    assert not is_unusual("xn--kln-sna.example")  # the one label that stands beside none


@pytest.mark.parametrize("name", [*PARTNERS, *CLOSED])
def test_what_folds_to_another_name_is_unusual(name: str) -> None:
    """A spelling that is mapped to the name, and that no row is found for, which are looked up folded."""
    rows = {text.casefold() for text in right(name)}
    found = [text for text in spellings(name, chosen=300) if text.rstrip(".").casefold() not in rows]
    assert [text for text in found if _maps_to(text) == a_label(name) and not is_unusual(text)] == []


def _maps_to(text: str) -> str:
    """What UTS 46 makes of a name, in A-labels; "" for nothing."""
    try:
        labels = idna.uts46_remap(text, std3_rules=False).split(".")
        labels = [idna.ulabel(label) if label.startswith("xn--") else label for label in labels]
        return a_label(".".join(labels))
    except (idna.IDNAError, UnicodeError):
        return ""


@pytest.mark.real("postmap")
def test_every_character_of_unicode(tmp_path: Path) -> None:
    """By the idna and the Unicode of this machine: what is mapped to something else than it folds to, and nothing that
    a U-label may have. Postfix itself says what it finds."""
    wanted, never = set(), set()
    codes = [*range(0x80, 0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x17000), *range(0x1AFF0, 0x20000)]
    # Of ideographs and syllables, which are alike, some.
    codes += [
        *range(0x2F800, 0x2FA20),
        *range(0x3400, 0xA000, 64),
        *range(0xAC00, 0xD7A4, 64),
        *range(0x20000, 0x30000, 64),
    ]
    for code in codes:
        char = chr(code)
        if unicodedata.category(char) in ("Cn", "Co") or not unicodedata.is_normalized("NFC", f"a{char}"):
            continue
        mapped = generator.mapped(char)
        if mapped is not None and mapped.casefold() != char.casefold():
            wanted.add(char)
        elif mapped == char and _is_label(char):
            never.add(char)
    assert len(wanted) > 3000
    assert len(never) > 8000
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\n")
    (tmp_path / "table").write_bytes(unusual_table())
    keys = "".join(f"x@a{char}.example\n" for char in sorted(wanted | never))
    command = ["postmap", "-c", str(tmp_path), "-q", "-", f"regexp:{tmp_path}/table"]
    done = subprocess.run(command, input=keys.encode(), capture_output=True, check=True)
    assert {line.partition("\t")[0][3] for line in done.stdout.decode().splitlines()} == wanted


def _is_label(char: str) -> bool:
    try:
        idna.alabel(f"a{char}")
    except idna.IDNAError:
        return False
    return True


def test_every_composition_of_unicode() -> None:
    for code in (*range(0xC0, 0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x20000)):
        char = chr(code)
        apart = unicodedata.normalize("NFD", char)
        if len(apart) > 1 and unicodedata.normalize("NFC", char) == char:
            assert is_unusual(f"x{apart}.example"), hex(code)
            for mark in "\u0327\u0323" if unicodedata.combining(apart[-1]) == 230 else "":
                between = apart[:-1] + mark + apart[-1]
                assert is_unusual(f"x{between}.example"), (hex(code), mark)
    assert not is_unusual("x\u0327\u0301.example"), "in order, and nothing composes"
    assert is_unusual("x\u0301\u0327.example"), "not in canonical order"


def test_the_file_is_what_the_script_makes() -> None:
    if unicodedata.unidata_version != "14.0.0" or idna.__version__ != "3.20":
        pytest.skip("the file was made by another idna or Unicode")
    lines = [
        line.encode().decode("unicode_escape").encode("latin-1") for line in generator.DATA.read_text().splitlines()
    ]
    assert lines == generator.expressions()


def test_labels_that_only_mail_servers_take() -> None:
    assert to_unicode("xn--n3h.example") == "☃.example"
    assert to_unicode(".xn--n3h.example") == ".☃.example"
    for name in ("xn--a.example", "xn--99zzzzzz.example", a_label("k").replace("k", "xn--koeln-us806b")):
        assert to_unicode(name) is None
