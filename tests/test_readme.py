"""The READMEs and the pages in docs/: short, without dead links, the same in both languages, true of the program."""

import re
import shlex
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from support.daemon import closedmail_inside
from support.gateway import Gateway
from support.machines.docker import run
from support.machines.tree import CHECKOUT
from support.markdown import code_blocks, code_spans, dead_links, headings, links, prose

from closedmail.cli.main import cli
from closedmail.config import build, parse
from closedmail.errors import Code, ConfigError
from closedmail.exports.targets import TARGETS
from closedmail.inbound.decision import Reason

README, GERMAN, DOCS = CHECKOUT / "README.md", CHECKOUT / "README.de.md", CHECKOUT / "docs"
DESIGN = DOCS / "design.md"
# What users read, and not who works on the program.
PAGES = sorted({README, GERMAN, *DOCS.glob("*.md")} - {DESIGN})
# English pages that have a German one, with it.
PAIRS = {
    README: GERMAN,
    DOCS / "refusals.md": DOCS / "ablehnungen.de.md",
    DOCS / "going-back.md": DOCS / "zurueck.de.md",
}


def name_of(path: Path) -> str:
    """A page's name in the checkout."""
    return str(path.relative_to(CHECKOUT))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def linked(path: Path) -> set[Path]:
    """The files that a page has links to."""
    return {(path.parent / link.partition("#")[0]).resolve() for link in links(read(path)) if link[0] != "#"}


# Length, links and contents.


@pytest.mark.parametrize("path", [README, GERMAN], ids=name_of)
def test_short(path: Path) -> None:
    assert len(read(path).splitlines()) <= 160


@pytest.mark.parametrize(
    "path",
    [*PAGES, DESIGN, CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "postfix-examples").rglob("*.md"))],
    ids=name_of,
)
def test_links(path: Path) -> None:
    """Each leads to a file and a heading that are there."""
    assert dead_links(path) == []


def test_every_page_is_found() -> None:
    """Each README links all pages in its language; the German one, the English page where there is no other."""
    pages = set(DOCS.glob("*.md"))
    assert pages - linked(README) == set(PAIRS.values()) - {GERMAN}
    assert pages - linked(GERMAN) == set(PAIRS) - {README}
    for english, german in PAIRS.items():
        assert german in linked(english)
        assert english in linked(german)
    for path in PAGES:
        assert linked(path) & {README, GERMAN}


@pytest.mark.parametrize("path", [path for path in PAGES if path.parent == DOCS], ids=name_of)
def test_contents(path: Path) -> None:
    """A page's contents name its sections in their order; only a page of few sections has none."""
    sections = headings(read(path))
    contents = re.findall(r"^- \[(.*?)\]\(#.*?\)", prose(read(path)), re.MULTILINE)
    assert contents == sections or (not contents and len(sections) <= 4)


# Both languages.


@pytest.mark.parametrize(("english", "german"), PAIRS.items(), ids=map(name_of, PAIRS))
def test_german_blocks(english: Path, german: Path) -> None:
    """Commands, configuration and output are the same, in the same order; comments are translated."""
    blocks = [
        [re.sub(r"[ \t]+#.*$", "", block, flags=re.MULTILINE) for block in code_blocks(read(path))]
        for path in (english, german)
    ]
    assert blocks[0] == blocks[1] != []


@pytest.mark.parametrize(("english", "german"), PAIRS.items(), ids=map(name_of, PAIRS))
def test_german_sections(english: Path, german: Path) -> None:
    assert len(headings(read(english))) == len(headings(read(german)))


def rows(path: Path) -> list[list[str]]:
    """The code in the first cell of each row of a page's tables."""
    return [re.findall(r"`([^`]+)`", row) for row in re.findall(r"^\| (`.*?) \|", read(path), re.MULTILINE)]


def test_reasons_and_codes() -> None:
    """What a refusal means has all reasons and codes, each once, and no others; German in the same order."""
    english = DOCS / "refusals.md"
    assert rows(english) == rows(PAIRS[english])
    words = [word for row in rows(english) for word in row if re.fullmatch(r"[a-z-]+", word)]
    assert sorted(words) == sorted({*get_args(Reason), *get_args(Code)})


# True of the program.


def test_ten_lines_of_configuration() -> None:
    """Nothing but what the README shows is needed."""
    (block,) = code_blocks(read(README), "toml")
    assert parse(block).networks
    assert len(block.splitlines()) == 10


def test_configuration_of_a_page_is_whole() -> None:
    """The example of docs/configure.md is a file by itself, and the error beside it is what the program says."""
    page = read(DOCS / "configure.md")
    (block,) = code_blocks(page, "toml")
    assert [partner.key for partner in parse(block).partners] == ["clinic.example"]
    (shown,) = code_blocks(page, "")
    wrong = block.replace('allow_from = ["198.51.100.0/24"]', 'allow_from = ["198.51.100.1/24"]')
    with pytest.raises(ConfigError) as error:
        parse(wrong)
    assert shown == f"closedmail: error: {error.value}\n"


def merged(into: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """One configuration, with the keys of another in the place of its own."""
    both = {**into, **more}
    return both | {
        key: merged(into[key], value) for key, value in more.items() if isinstance(value, dict) and key in into
    }


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_configuration(path: Path) -> None:
    """Each piece of configuration is taken, beside the ten lines of the README."""
    base = tomllib.loads(code_blocks(read(README), "toml")[0])
    for block in code_blocks(read(path), "toml"):
        assert build(merged(base, tomllib.loads(block))).networks


@cache
def options(command: str) -> frozenset[str]:
    """The options of a subcommand. Fails for one that is not there."""
    found = cli.get_command(click.Context(cli), command)
    assert found, command
    return frozenset(option for parameter in found.params for option in parameter.opts)


def commands(text: str) -> list[list[str]]:
    """The calls of closedmail in a page, in blocks and in lines, each as its words."""
    lines = [line for block in code_blocks(text, "sh", "") for line in block.splitlines()]
    calls = [line.removeprefix("$ ") for line in lines] + code_spans(text)
    found = [re.search(r"(?:^|\| )(closedmail [a-z].*)", re.sub(r"\s#.*", "", call)) for call in calls]
    return [shlex.split(call[1]) for call in found if call]


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands(path: Path) -> None:
    """Each command that a page shows is one, and has the options that stand there."""
    found = commands(read(path))
    assert found or path.name in {"testing.md"}
    for _, command, *words in found:
        assert {word for word in words if word.startswith("--")} <= options(command)
        assert command != "export" or words[0] in {*TARGETS, "TARGET"}


def test_all_commands() -> None:
    """docs/every-day.md has a row for each, docs/exports.md for each target."""
    shown = {call.split()[1] for row in rows(DOCS / "every-day.md") for call in row}
    assert shown == set(cli.list_commands(click.Context(cli)))
    assert sorted(target for row in rows(DOCS / "exports.md") for target in row) == sorted(TARGETS)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_scripts(path: Path) -> None:
    """The scripts that a page names are in the checkout."""
    for script in re.findall(r"(?<![\w/])scripts/[\w.-]*\w", read(path)):
        assert (CHECKOUT / script).is_file(), script


PARTNER, MEMBER, STRANGER = "registry@koeln.example", "192.0.2.9", "203.0.113.66"


def gateway(folder: Path, mode: str) -> Gateway:
    """A gateway of the network of the pages, with its list in force."""
    made = Gateway(folder)
    made.write_list(["koeln.example\tesmtp:[192.0.2.20]"])
    network = f'title = "Netz des Bundes"\nsignature = "none"\nsource = "{made.list}"'
    made.configure(network=network, inbound=f'mode = "{mode}"\nallow_from = ["{MEMBER}"]', partners="")
    made.config.write_text(made.config.read_text().replace("203.0.113.0/24", "127.0.0.1"))
    made.sync()
    return made


def test_reply(tmp_path: Path) -> None:
    """The refusal that the pages show is what Postfix makes of ours (test_policyd_postfix.py has the real reply)."""
    config = gateway(tmp_path, "enforce").config
    said = closedmail_inside("explain", "--json", "--sender", PARTNER, "--client-address", STRANGER, config=config)
    status, code, text = str(said.json["action"]).split(" ", 2)
    assert (said.status, status) == (1, "REJECT")
    for page in ("refusals.md", "ablehnungen.de.md"):
        (shown,) = code_blocks(read(DOCS / page), "")
        assert shown == f"554 {code} <{PARTNER}>: Sender address rejected: {text}\n"


def received(number: int, client: str, time: str) -> str:
    """The lines of one mail of the partner's in Postfix's log."""
    queue_id = "4jYc9b1lY2zJDSd" if (client, number) == (STRANGER, 0) else f"4jYc9b1lY2z{number:04}"
    lines = (
        f"smtpd[7]: connect from unknown[{client}]",
        f"smtpd[7]: {queue_id}: client=unknown[{client}]",
        f"qmgr[8]: {queue_id}: from=<{PARTNER}>, size=333, nrcpt=1 (queue active)",
        f"qmgr[8]: {queue_id}: removed",
        f"smtpd[7]: disconnect from unknown[{client}] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
    )
    return "".join(f"{time} gw postfix/{line}\n" for line in lines)


def test_replay(tmp_path: Path) -> None:
    """What docs/first-week.md shows comes of such a log."""
    mails = [received(number, MEMBER, f"Nov 23 03:00:{number:02}") for number in range(40)]
    mails += [received(number, STRANGER, f"Nov 24 03:00:{number:02}") for number in range(3)]
    log = tmp_path / "mail.log"
    log.write_text("".join(mails))
    said = closedmail_inside("replay", str(log), config=gateway(tmp_path, "report").config)
    shown = next(block for block in code_blocks(read(DOCS / "first-week.md"), "") if "would be refused" in block)
    assert said.stdout.split("\n\n")[1].rstrip() == shown.rstrip()


@pytest.mark.real("root", "postfix", "postfix-lmdb", "openssl")
def test_demo() -> None:
    """Each line that the README shows of the demo is one of its output, in this order; `…` stands for anything."""
    shown = next(block for block in code_blocks(read(README), "") if "closedmail policyd" in block)
    done = run([sys.executable, "-m", "closedmail", "demo"], timeout=120)
    output = iter(done.stdout.splitlines())
    for line in shown.splitlines():
        wanted = re.escape(line).replace("…", ".*")
        assert any(re.fullmatch(wanted, found) for found in output), line
