"""All errors of a configuration at once, each in its file and line; and several files as one configuration."""

import copy
import random
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.daemon import Output, closedmail_inside

from closedmail.config import find_faults, load, parse
from closedmail.config.config_files import flat_text
from closedmail.config.key_lines import key_lines
from closedmail.core.model import Config
from closedmail.errors import ConfigError, NothingSet

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad_configurations").glob("*.toml"))
FULL = HERE / "good_configurations" / "full.toml"
# A key that stands outside of its table is missing in it; another file lacks a required key besides.
MORE = {"unknown-key-top": ["gateway.own_domains"], "inbound-not-a-table": ["network.ndb.outbound.tls"]}
GATEWAY = '[gateway]\nown_domains = ["city.example"]\n'
Tree = dict[str, object]

# What a file holds, and the line and key of each error, in this order. Nothing else may be named: no fault has an echo.
FILES = {
    """\
[gateway]
own_domian = ["city.example"]
keep_generations = "30"
[policyd]
listen = ["unix:/run/a", "tcp:1", 7]
socket_mode = "rw"
[network.ndb]
source = "http://lists.example/list"
shrink_limit = "0.1"
inbound = {mode = "enforced", allow_from = ["192.0.2.1/24", "192.0.2.0/24"]}
[network.ndb.outbound]
tls = "may"
smarthost = "[192.0.2.1]"
""": [
        (2, "gateway.own_domian"),
        (3, "gateway.keep_generations"),
        (5, "policyd.listen[1]"),
        (5, "policyd.listen[2]"),
        (6, "policyd.socket_mode"),
        (8, "network.ndb.source"),
        (10, "network.ndb.inbound.mode"),
        (10, "network.ndb.inbound.allow_from[0]"),
        (13, "network.ndb.outbound.smarthost"),
        (9, "network.ndb.shrink_limit"),
    ],
    # Two required keys of one table; a rule that nothing can satisfy; a partner of a network that is not there.
    GATEWAY
    + """\
[network.a]
source = "/list"
inbound.mode = "off"
outbound.tls = "may"
[network.b]
inbound = {mode = "enforce", require = "cert"}
outbound = {tls = "may"}
closed_domains = ["kim.example"]
[partner."x.example"]
network = "c"
inbound = {mode = "nonsense"}
[partner."X.Example"]
route = "esmtp:[192.0.2.1]"
inbound.mode = "off"
outbound.tls = "fingerprint"
[partner."no domain"]
""": [
        (3, "network.a.key_file"),
        (3, "network.a.signing_keys"),
        (8, "network.b.inbound.require"),
        (12, 'partner."x.example".network'),
        (14, 'partner."X.Example"'),
        (18, 'partner."no domain"'),
    ],
    # A faulty network: what its partner inherits is unknown, so of the partner only what it sets itself is judged.
    GATEWAY
    + """\
[network.a]
inbound = {mode = "enforce", allow_from = ["192.0.2.300"]}
outbound = {tls = "may"}
[partner."x.example"]
network = "a"
note = 1
""": [(4, "network.a.inbound.allow_from[0]"), (8, 'partner."x.example".note')],
    # Nothing hides where a key stands: strings of several lines, arrays, comments, quoted and dotted keys.
    '''\
# own_domains = 1
"gateway".own_domains = [ # ]
  "city.example", # "]
  """
    a"b = [""", \'\'\'[gateway]
[policyd]\'\'\',
]
gateway . "keep_generations" = 0
[ 'network' . "n.d" ] # [x]
inbound = { mode = "off", note = "}" }
outbound.tls = "#"
'''.replace("\\", ""): [
        (2, "gateway.own_domains[1]"),
        (2, "gateway.own_domains[2]"),
        (8, "gateway.keep_generations"),
        (10, 'network."n.d".inbound.note'),
        (11, 'network."n.d".outbound.tls'),
    ],
}


def folder_of(folder: Path, files: dict[str, str]) -> Path:
    """Write the files of a configuration; return the path of the first."""
    (folder / "conf.d").mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder / "closedmail.toml"


@pytest.mark.parametrize("text", FILES)
def test_all_are_named_and_nothing_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "closedmail.toml"
    path.write_text(text)
    faults = find_faults(path)
    assert [(fault.line, fault.error.key) for fault in faults] == FILES[text], "\n".join(map(str, faults))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{faults[0].error}; `closedmail check` names all {len(faults)} errors"


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_file_with_one_fault_has_one(path: Path) -> None:
    fault, *more = find_faults(path)
    assert [fault.error.key for fault in more] == MORE.get(path.stem, [])
    expected = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# error: ")
    assert str(fault.error) == (expected if fault.error.key else expected.replace("closedmail.toml", str(path), 1))
    assert fault.line is None or fault.line > 1


def test_the_lines_of_all_keys() -> None:
    text = FULL.read_text()
    lines = text.split("\n")
    found = key_lines(text)
    assert len(found) > 80
    for key, line in found.items():
        last = key.rpartition(".")[2].strip('"')
        assert last in lines[line - 1], (key, line)


# --- several files --------------------------------------------------------------------------------------------------


def test_drop_ins(tmp_path: Path) -> None:
    files = {
        "closedmail.toml": GATEWAY + "[policyd]\n",
        "conf.d/10-ndb.toml": '[network.ndb]\ninbound = {mode = "off"}\n[policyd]\nsocket_group = "postfix"\n',
        "conf.d/20-ndb.toml": '[network.ndb.outbound]\ntls = "may"\n[network.ndb.inbound]\nrequire = "cert"\n',
        "conf.d/.30-hidden.toml": "no TOML",
        "conf.d/40-other.toml~": "no TOML",
    }
    config = load(folder_of(tmp_path, files))
    assert (config.policyd.socket_group, config.networks[0].inbound.require) == ("postfix", "cert")
    # What is kept with a generation is all of it.
    assert parse(config.text, config.path) == config


def test_a_fault_names_its_file(tmp_path: Path) -> None:
    files = {
        "closedmail.toml": GATEWAY + "keep_generations = 3\n",
        "conf.d/a.toml": '[network.ndb]\ninbound = {mode = "off"}\n\ntitle = 1\n',
        "conf.d/b.toml": "[gateway]\nkeep_generations = 3\n[network]\nndb.title = 2\n[network.ndb.inbound]\nmode = 1\n",
    }
    path = folder_of(tmp_path, files)
    a, b = tmp_path / "conf.d/a.toml", tmp_path / "conf.d/b.toml"
    levels = '"none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure"'
    assert list(map(str, find_faults(path))) == [
        f"{path}:3: gateway.keep_generations: set twice, in {path} and {b}; remove it from one of them",
        f"{a}:4: network.ndb.title: set twice, in {a} and {b}; remove it from one of them",
        f"{a}:2: network.ndb.inbound.mode: set twice, in {a} and {b}; remove it from one of them",
        f"{a}:1: network.ndb.outbound.tls: required, and not set; write one of {levels}",
        f'{a}:4: network.ndb.title: found the integer 1; write a string, in quotes, such as "…"',
    ]
    b.unlink()
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == (
        f"network.ndb.outbound.tls: required, and not set; write one of {levels} (in {a}, line 1); "
        "`closedmail check` names all 2 errors"
    )


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    """All of them are named, and nothing that they may set counts as missing."""
    path = folder_of(tmp_path, {"closedmail.toml": "[gateway\n", "conf.d/a.toml": "\n\nb = \n", "conf.d/c.toml": ""})
    (tmp_path / "conf.d/d.toml").write_bytes(b"\n\xff\n")
    (tmp_path / "conf.d/e.toml").mkdir()
    found = [(Path(fault.file).name, fault.line, fault.error.key) for fault in find_faults(path)]
    assert found == [("closedmail.toml", 1, ""), ("a.toml", 3, ""), ("d.toml", 2, ""), ("e.toml", None, "")]
    assert "e.toml: can't be read: Is a directory" in str(find_faults(path)[-1])


def test_only_comments(tmp_path: Path) -> None:
    path = folder_of(tmp_path, {"closedmail.toml": "# [gateway]\n", "conf.d/a.toml": "# nothing\n"})
    with pytest.raises(NothingSet):
        load(path)
    (tmp_path / "conf.d/a.toml").write_text(GATEWAY)
    assert load(path).gateway.own_domains == ("city.example",)


def leaves(table: Tree, prefix: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    found: list[tuple[tuple[str, ...], object]] = []
    for name, value in table.items():
        found += leaves(value, (*prefix, name)) if isinstance(value, dict) and value else [((*prefix, name), value)]
    return found


@given(st.randoms(use_true_random=False))
def test_however_a_file_is_divided_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    parts: list[Tree] = [{}, {}, {}]
    for path, value in leaves(tomllib.loads(FULL.read_text())):
        table = chance.choice(parts)
        for name in path[:-1]:
            inner = table.setdefault(name, {})
            assert isinstance(inner, dict)
            table = inner
        table[path[-1]] = copy.deepcopy(value)
    texts = zip(("closedmail.toml", "conf.d/1.toml", "conf.d/2.toml"), map(flat_text, parts), strict=True)
    assert unordered(load(folder_of(tmp_path_factory.mktemp("divided"), dict(texts)))) == unordered(load(FULL))


def unordered(config: Config) -> Config:
    """Leave out the path, and the order of tables, which is that in which they first stand."""
    networks = tuple(sorted(config.networks, key=lambda network: network.name))
    partners = tuple(sorted(config.partners, key=lambda partner: partner.key))
    return replace(config, path="", text="", networks=networks, partners=partners)


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), _TEXTS),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(_TEXTS, inner)),
    max_leaves=10,
)


@given(st.dictionaries(_TEXTS, _VALUES))
def test_flat_text_is_read_back(data: Tree) -> None:
    assert tomllib.loads(flat_text(data)) == data


# --- the command ----------------------------------------------------------------------------------------------------


def check(*arguments: str, config: Path) -> Output:
    return closedmail_inside("check", *arguments, config=config)


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "closedmail.toml"
    path.write_text(GATEWAY)
    assert check(config=path) == Output(0, f"{path}: no errors\n", "")
    assert check("--json", config=path).json == {"errors": []}
    other = tmp_path / "next.toml"
    other.write_text(GATEWAY + "state_dir = 1\n")
    text = 'found the integer 1; write a string, in quotes, such as "/var/lib/closedmail"'
    assert check(str(other), config=path) == Output(2, f"{other}:3: gateway.state_dir: {text}\n", "")
    found = check("--json", str(other), config=path)
    assert found.status == 2
    assert found.json == {"errors": [{"file": str(other), "line": 3, "key": "gateway.state_dir", "text": text}]}
    found = check(str(tmp_path / "nowhere.toml"), config=path)
    assert (found.status, found.stdout.startswith(f"{tmp_path}/nowhere.toml: no such file;")) == (2, True)
