"""The manual pages in docs/man say what the program does: commands, options, exit statuses, keys with their defaults,
and examples.

The rows of closedmail-mailertable(5) are tried in mailertable/test_mailertable_page.py.
"""

import ast
import errno
import os
import re
import subprocess
import tomllib
from functools import cache
from typing import Any, get_args

import click
import pytest
from support.machines.tree import CHECKOUT
from support.man_pages import FOLDER, Item, Page, options, plain
from support.real import find

from closedmail.cli.main import cli
from closedmail.config import build, parse
from closedmail.errors import Code, ConfigError
from closedmail.exports.targets import TARGETS
from closedmail.inbound.decision import Reason

PAGES = sorted(FOLDER.glob("*.[1578]"))
COMMANDS = cli.list_commands(click.Context(cli))
CONFIG, MAILERTABLE = "closedmail.toml.5", "closedmail-mailertable.5"


@cache
def page(name: str) -> Page:
    """A page by its file's name."""
    return Page(FOLDER / name)


def command_of(name: str) -> click.Command:
    """The command that a page is about: `closedmail` itself, or a subcommand."""
    command = cli.get_command(click.Context(cli), name) if name else cli
    assert command is not None
    return command


@pytest.mark.real("mandoc")
def test_no_warning_of_mandoc() -> None:
    """Neither an error nor a warning, in any page."""
    mandoc = find("mandoc")
    assert mandoc
    done = subprocess.run(
        [mandoc, "-T", "lint", "-W", "warning", *PAGES], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pages() -> None:
    """One for each command, for the whole, for the configuration and for the list; each bears its file's name."""
    wanted = {f"closedmail-{name}.8" for name in COMMANDS} | {"closedmail.8", CONFIG, MAILERTABLE}
    assert {path.name for path in PAGES} == wanted
    for path in PAGES:
        title, section = path.stem, path.suffix[1:]
        assert f".Dt {title.upper()} {section}\n" in page(path.name).source
        assert page(path.name).section("NAME")[0] == f".Nm {title}"


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries(name: str) -> None:
    """A command's page and closedmail(8) have the summary of --help, the page as mdoc(7) asks for it."""
    summary = command_of(name).get_short_help_str(limit=100)
    (described,) = [line for line in page(f"closedmail-{name}.8").section("NAME") if line.startswith(".Nd ")]
    assert described == f".Nd {summary[0].lower()}{summary[1:].removesuffix('.')}"
    (item,) = [item for item in page("closedmail.8").items if item.head == f"Xr closedmail-{name} 8"]
    assert item.body == (summary,)


@cache
def messages() -> str:
    """All texts of the program but docstrings, f-strings with a mark for each value, and the system's errors."""

    def text(node: ast.AST) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(text(part) for part in node.values)
        return str(node.value) if isinstance(node, ast.Constant) else "\0"

    trees = [ast.parse(path.read_text("utf-8")) for path in sorted((CHECKOUT / "closedmail").rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [
        text(node) for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in docstrings
    ]
    return "\n".join(texts + [os.strerror(number) for number in errno.errorcode])


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_diagnostics(name: str) -> None:
    """Each command has diagnostics and limits; a message that is shown is one of the program's."""
    found = page(f"closedmail-{name}.8" if name else "closedmail.8")
    assert found.section("BUGS")
    shown = [item for item in found.in_section("DIAGNOSTICS") if not item.head.startswith("Cm ")]
    assert found.section("DIAGNOSTICS")
    assert all(item.body for item in shown)
    for item in shown:  # words in capitals stand for what differs
        head = re.sub(r"^(error|warning|note): ", "", item.head)
        parts = [part.strip(" :;,()") for part in re.split(r"\b[A-Z_]+\b|\.\.\.", head)]
        assert any(len(part) > 7 for part in parts), item.head
        assert [part for part in parts if part not in messages()] == [], item.head


def test_references() -> None:
    """What a page refers to as closedmail's is there, and closedmail(8) names all commands."""
    for path in PAGES:
        for name, section in re.findall(r"Xr (closedmail\S*) (\d)", page(path.name).source):
            assert (FOLDER / f"{name}.{section}").exists(), (path.name, name)
    listed = [item.head for item in page("closedmail.8").items if item.subsection == "Commands"]
    assert sorted(listed) == [f"Xr closedmail-{name} 8" for name in COMMANDS]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_options(name: str) -> None:
    """Each option is explained and stands in the synopsis with the argument that --help names; no other one does."""
    command, found = command_of(name), page(f"closedmail-{name}.8" if name else "closedmail.8")
    wanted: dict[str, str] = {"-h": "", "--help": ""}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            word = "" if parameter.is_flag else parameter.metavar or _choices(parameter)
            wanted |= dict.fromkeys(parameter.opts, word)
    explained: dict[str, str] = {}
    for item in found.in_section("DESCRIPTION"):
        if item.head.startswith("Fl "):
            explained |= dict(options(item.head))
    assert explained == wanted
    synopsis = {option: word for line in found.section("SYNOPSIS") for option, word in options(line)}
    assert synopsis.items() <= wanted.items()
    missing = wanted.keys() - synopsis.keys() - {"-h", "--help"}
    assert missing <= ({"--verbose"} if not name else set())  # its short form stands there
    for line in found.lines:  # `--config` is every command's
        assert {option for option, _ in options(line)} <= wanted.keys() | {"--config", "-v"}, line
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            word = re.sub(r"[^A-Z]", "", parameter.metavar or (parameter.name or "").upper())
            assert any(f"Ar {word}" in line for line in found.section("SYNOPSIS"))


def _choices(option: click.Option) -> str:
    """The first word of what stands for a choice: `Ar mx | forward`."""
    assert isinstance(option.type, click.Choice)
    return str(option.type.choices[0])


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_exit_statuses(name: str) -> None:
    """All are named; a plugin of Nagios has one more."""
    found = page(f"closedmail-{name}.8" if name else "closedmail.8")
    statuses = [item.head for item in found.in_section("EXIT STATUS")]
    assert statuses == {"status": ["0", "1", "2", "3"], "check": ["0", "2"]}.get(name, ["0", "1", "2"])
    assert all(item.body for item in found.in_section("EXIT STATUS"))


def test_words_of_the_interface() -> None:
    """Codes of refused lists, reasons of decisions and targets of export: all of them, and no others."""
    assert page("closedmail-sync.8").words("DIAGNOSTICS") == set(get_args(Code))
    assert page("closedmail-explain.8").words("DESCRIPTION") == set(get_args(Reason))
    assert page("closedmail-export.8").words("DESCRIPTION") == set(TARGETS)


# The configuration file.

NETWORK: dict[str, Any] = {
    "source": "/list.asc",
    "key_file": "/key.asc",
    "signing_keys": ["0" * 40],
    "outbound": {"tls": "secure"},
    "inbound": {
        "mode": "enforce",
        "require": "ip or cert",
        "allow_from": ["192.0.2.1"],
        "certificates": [{"issuer": "CA"}],
    },
    "dns": {},
}
BASE: dict[str, Any] = {
    "gateway": {"own_domains": ["city.example"]},
    **{name: {} for name in ("postfix", "sendmail", "policyd", "milter", "monitoring")},
    "network": {"ndb": NETWORK},
    "partner": {"p.example": {"network": "ndb", "inbound": {"mode": "enforce", "allow_from": ["192.0.2.2"]}}},
}
# Where the tables of the page's subsections are in BASE.
TABLES: dict[str, tuple[str | int, ...]] = {
    **{f"[{name}]": (name,) for name in ("gateway", "postfix", "sendmail", "policyd", "milter", "monitoring")},
    "[network.NAME]": ("network", "ndb"),
    "[network.NAME.outbound]": ("network", "ndb", "outbound"),
    "[network.NAME.inbound]": ("network", "ndb", "inbound"),
    "Entries of certificates": ("network", "ndb", "inbound", "certificates", 0),
    "[network.NAME.dns]": ("network", "ndb", "dns"),
    '[partner."DOMAIN"]': ("partner", "p.example"),
}
NO_KEY = "zzzzzzzzzzzz"


def changed(table: str, key: str, *value: object) -> dict[str, Any]:
    """BASE with one key of one table set to a value, or taken out."""

    def copy(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: copy(member) for name, member in node.items()}
        return [copy(member) for member in node] if isinstance(node, list) else node

    data: dict[str, Any] = copy(BASE)
    place: Any = data
    for name in TABLES[table]:
        place = place[name]
    place.pop(key, None)
    if value:
        place[key] = value[0]
    return data


def keys_in(table: str) -> list[Item]:
    """The items of a table's subsection."""
    return [item for item in page(CONFIG).in_section("DESCRIPTION") if item.subsection == table and item.head]


def test_tables() -> None:
    """The page has all tables of the file, and no others."""
    with pytest.raises(ConfigError, match="known here are") as error:
        build({NO_KEY: 1})
    known = set(str(error.value).rpartition("known here are ")[2].split(", "))
    assert {str(place[0]) for place in TABLES.values()} == known
    assert {line.removeprefix(".Ss ").replace(r"\(dq", '"') for line in page(CONFIG).lines if line[:4] == ".Ss "} == {
        *TABLES
    }


@pytest.mark.parametrize("table", TABLES)
def test_keys(table: str) -> None:
    """The page has the keys that the program takes in this table, each once, and no others."""
    with pytest.raises(ConfigError, match="known here are") as error:
        build(changed(table, NO_KEY, 1))
    known = str(error.value).rpartition("known here are ")[2].split(", ")
    assert sorted(item.head.split()[1] for item in keys_in(table)) == known


@pytest.mark.parametrize("table", TABLES)
def test_defaults(table: str) -> None:
    """A key with a default may be left out, and means that; a required one may not; other keys are tables."""
    for item in keys_in(table):
        found = re.fullmatch(r'Ic (\S+)(?: Li "= (.*)"| Pq (table|required(?: .*)?))?', item.head)
        assert found, item.head
        key, default, word = found.groups()
        without = changed(table, key)
        if default is not None:
            value = tomllib.loads(f"value = {plain(default)}")["value"]
            assert build(changed(table, key, value)) == build(without), key
        elif word == "table":
            assert f"[network.NAME.{key}]" in TABLES
        elif word:
            with pytest.raises(ConfigError) as error:
                build(without)
            assert error.value.key.endswith(f".{key}")
        else:
            assert table == "Entries of certificates"


def test_examples_load() -> None:
    """Each is a whole file."""
    examples = page(CONFIG).literal_blocks("EXAMPLES")
    assert len(examples) == 4
    for example in examples:
        assert parse(example).gateway.own_domains
