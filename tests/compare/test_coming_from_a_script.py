"""A gateway that comes from `curl | awk > transport; postmap`, on a running Postfix: docs/coming-from-a-script.md."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway
from support.private_postfix import PrivatePostfix
from support.real import require

from closedmail.config import load, parse
from closedmail.core.model import Config
from closedmail.doctor.doctor import find_findings
from closedmail.mta.own_tables import OwnTables, find_own_rows
from closedmail.mta.postfix_settings import read_chain
from closedmail.mta.recipient_chain import RecipientChain
from closedmail.probe.own_targets import own_targets
from closedmail.probe.probe_targets import postfix_targets
from closedmail.store.snapshot import StoreReader

pytestmark = pytest.mark.real("root", "postfix", "postfix-lmdb")
SAME = {f"d{n:02}.example": f"198.51.100.{n}" for n in range(1, 57)}
LIST = {
    **SAME,
    "dortmund.example": "203.0.113.30",
    "essen.example": "203.0.113.31",
    "xn--kln-sna.example": "203.0.113.32",
    ".land.example": "203.0.113.33",
    "new1.example": "203.0.113.40",
    "new2.example": "203.0.113.41",
}
DIFFER = {
    "dortmund.example": "smtp:[198.51.100.230]:25",
    "essen.example": "smtp:[203.0.113.31]:2525",
    "köln.example": "smtp:[198.51.100.232]",
    ".land.example": "smtp:[198.51.100.233]",
    "amt.land.example": "smtp:[198.51.100.234]",
}
ONLY_HERE = {
    "bank.example": "smtp:[198.51.100.240]:587, [198.51.100.241]:587",
    "clinic.example": "smtp:mx.clinic.example",
    "court.example": "smtp:[198.51.100.242]:25 [198.51.100.243]:26",
}
OTHER = {
    "city.example": "smtp:[198.51.100.250]",
    "chef@d01.example": "smtp:[198.51.100.251]",
    "*": "smtp:[198.51.100.252]",
}
OLD = {**{name: f"smtp:[{host}]:25" for name, host in SAME.items()}, **DIFFER, **ONLY_HERE, **OTHER}
# discard(8) logs the nexthop, and the name of the service: what trivial-rewrite and qmgr made of a recipient.
SERVICES = tuple(
    f"{name} unix - - n - - discard -o syslog_name=postfix/{name} -o smtp_tls_policy_maps= "
    f"-o smtp_tls_security_level={level}"
    for name, level in (("smtp", "may"), ("ndb", "encrypt"))
)


class Town:
    """The gateway: an old table that Postfix has read for years, and closedmail behind it."""

    def __init__(self, folder: Path, postfix: PrivatePostfix) -> None:
        self.folder, self.postfix = folder, postfix
        self.gateway = Gateway(folder)
        self.old = folder / "transport.ndb"
        self.map_dir = folder / "maps"
        self.ours = f"lmdb:{self.map_dir}/transport"
        self.tls = f"lmdb:{self.map_dir}/tls_policy"

    def make(self) -> None:
        self.gateway.write_list(f"{key}\tesmtp:[{host}]" for key, host in LIST.items())
        self.configure()
        self.write_old(OLD)
        self.read(f"lmdb:{self.old}, {self.ours}")
        self.gateway.sync()

    def configure(self, partners: str = "") -> None:
        more = f'[postfix]\nconfig_directory = "{self.postfix.etc}"\nmap_dir = "{self.map_dir}"\nmap_type = "lmdb"\n'
        outbound = 'tls = "encrypt"\ntransport = "ndb"'
        self.gateway.configure(partners=partners, more=more, outbound=outbound)

    @property
    def config(self) -> Config:
        return load(self.gateway.config)

    def write_old(self, rows: dict[str, str]) -> None:
        self.old.write_text("# made by ndb.sh\n" + "".join(f"{key}\t{value}\n" for key, value in rows.items()))
        self.postfix.postmap(f"lmdb:{self.old}")

    def read(self, tables: str, *services: str) -> None:
        """Have Postfix read these transport tables."""
        self.postfix.postconf("-e", f"transport_maps = {tables}", f"smtp_tls_policy_maps = {self.tls}")
        self.postfix.postconf("-P", f"ndb/unix/smtp_tls_policy_maps={self.tls}")
        for service in services:
            self.postfix.postconf("-P", service)
        self.postfix.reload()

    def run(self, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "closedmail", "--config", str(self.gateway.config), *arguments]
        nowhere = Path(__file__).parents[1] / "support" / "nowhere"
        environment = {**os.environ, "PYTHONPATH": f"{nowhere}:{Path(__file__).parents[2]}"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[1])

    def sent(self, recipient: str) -> str:
        """Where a mail really goes: the service and its nexthop."""
        mark = len(self.postfix.log())
        self.postfix.submit("u@city.example", [recipient])
        deadline = time.monotonic() + 15
        name = re.escape(recipient.lower())
        pattern = re.compile(rf"(?i)postfix/(\w+)/discard\[\d+\]: \w+: to=<{name}>, (?:.*)status=\w+ \((.*)\)")
        while not (found := pattern.search(self.postfix.log()[mark:])):
            assert time.monotonic() < deadline, self.postfix.log()[mark:]
            time.sleep(0.05)
        return f"{found[1]}:{found[2]}"

    def findings(self) -> list[tuple[str, str]]:
        return [(item.id, item.text) for item in find_findings(self.config, int(time.time()))]


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    require("root", "postfix", "postfix-lmdb")
    folder = Path(tempfile.mkdtemp(prefix="closedmail-"))
    folder.chmod(0o755)
    try:
        with PrivatePostfix(
            folder / "postfix", {"relayhost": "[198.51.100.9]", "default_transport": "smtp"}, services=SERVICES
        ) as postfix:
            made = Town(folder, postfix)
            made.make()
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def wired(town: Town) -> Iterator[Town]:
    """As it is when the page begins, and again afterwards."""
    yield town
    town.configure()
    town.write_old(OLD)
    town.postfix.postconf("-PX", "rewrite/unix/transport_maps")
    town.read(f"lmdb:{town.old}, {town.ours}")
    town.gateway.sync()


def test_what_compare_says(town: Town) -> None:
    assert len(OLD) == 67
    assert town.run("compare", str(town.gateway.list))[0] == 0  # a mailertable, here the list itself
    for name in (f"lmdb:{town.old}", str(town.old)):
        status, _ = town.run("compare", name)
        found = town.json("compare", name)
        assert status == 1
        assert found["same"] == 56
        assert {item["domain"]: (item["here"], item["list"]) for item in found["differ"]} == {
            "dortmund.example": ("smtp:[198.51.100.230]:25", "ndb:[203.0.113.30]"),
            "essen.example": ("smtp:[203.0.113.31]:2525", "ndb:[203.0.113.31]"),
            "xn--kln-sna.example": ("smtp:[198.51.100.232]", "ndb:[203.0.113.32]"),
            ".land.example": ("smtp:[198.51.100.233]", "ndb:[203.0.113.33]"),
            "amt.land.example": ("smtp:[198.51.100.234]", "ndb:[203.0.113.33]"),
        }
        assert sorted(found["only_here"]) == sorted(ONLY_HERE)
        assert found["only_list"] == ["new1.example", "new2.example"]
        assert found["own"] == ["city.example"]
        assert {item["key"] for item in found["other"]} == {"*", "chef@d01.example"}


def test_every_command_names_the_rows_in_front(town: Town) -> None:
    status, said = town.run("sync")
    assert status == 0
    assert "has rows in front of closedmail's" in said
    rows = {(row["key"], row["partner"]) for row in town.json("sync")["own_rows"]}
    wanted = {name for name in OLD if name not in (*ONLY_HERE, "city.example", "*")}
    assert {key for key, _ in rows} == wanted
    assert {("amt.land.example", ".land.example"), ("chef@d01.example", "d01.example")} <= rows
    assert any("dortmund.example smtp:[198.51.100.230]:25" in text for text in town.json("status")["problems"])
    ((_, text),) = [item for item in town.findings() if item[0] == "partner-overridden"]
    assert f"compare lmdb:{town.old} shows all" in text


RECIPIENTS = {
    "u@d02.example": "smtp:[198.51.100.2]:25",
    "chef@d01.example": "smtp:[198.51.100.251]",
    "chef+x@d01.example": "smtp:[198.51.100.251]",
    "u@Dortmund.example": "smtp:[198.51.100.230]:25",
    "u@x.land.example": "smtp:[198.51.100.233]",
    "u@amt.land.example": "smtp:[198.51.100.234]",
    "u@new1.example": "ndb:[203.0.113.40]",
    "u@re.land.example": "smtp:[198.51.100.235]:25",
    "u@new2.example": "smtp:[198.51.100.9]",
}


def test_explain_says_what_postfix_does(wired: Town) -> None:
    """With the table of the script, patterns, an inline table, and trivial-rewrite's own list of tables."""
    patterns = wired.folder / "patterns"
    patterns.write_text(r"/^u@re\.land\.example$/ smtp:[198.51.100.235]:25" + "\n")
    tables = f"regexp:{patterns},lmdb:{wired.old},inline:{{new2.example=:}},{wired.ours}"
    wired.postfix.postconf("-e", "recipient_delimiter = +")
    wired.read(wired.ours, f"rewrite/unix/transport_maps={tables}")
    for recipient, transport in RECIPIENTS.items():
        found = wired.json("explain", "--recipient", recipient)
        assert (wired.sent(recipient), found["transport"]) == (transport, transport), found
        ours = transport.startswith("ndb:")
        assert found["verdict"] == ("routed" if ours else "none"), found
        assert list(found["tls_policy"].values()) == ["encrypt" if ours else "may"], found
        assert ("own_row" in found) is not ours
    named = {row["key"] for row in wired.json("sync")["own_rows"]}
    assert {"new2.example", "dortmund.example"} <= named


def test_patterns_are_asked(wired: Town) -> None:
    """What can't be listed is asked by the keys that trivial-rewrite asks; what can't be read is said."""
    patterns = wired.folder / "patterns"
    patterns.write_text(r"/@(new1|x\.land)\.example$/ smtp:[198.51.100.235]" + "\n")
    wired.read(f"{wired.ours}, regexp:{patterns}, hash:{wired.folder}/none")
    found = wired.json("sync")
    assert [(row["partner"], row["key"]) for row in found["own_rows"]] == [("new1.example", "*@new1.example")]
    assert wired.sent("u@new1.example") == "smtp:[198.51.100.235]"
    _, said = wired.run("sync")
    assert f"hash:{wired.folder}/none can't be read" in said
    assert {"partner-overridden", "own-table"} <= {name for name, _ in wired.findings()}


def test_probe_goes_where_postfix_does(wired: Town) -> None:
    """To the hosts of own rows, under the policy that applies there."""
    directory = str(wired.postfix.etc)
    chain, tables = read_chain(directory, str(wired.map_dir)), OwnTables(directory)
    with StoreReader(wired.gateway.store) as store:
        snapshot = store.current()
        found, follow = find_own_rows(chain, tables, snapshot), RecipientChain(chain, tables)
        for domains in ((), ("dortmund.example", "amt.land.example", "new1.example")):
            targets = postfix_targets(snapshot, domains, own_targets(snapshot, follow, found, domains))
            where = {item.nexthop: (item.service, item.row) for item in targets}
            assert where["[198.51.100.230]:25"] == ("smtp", "may")
            assert where["[198.51.100.234]"] == ("smtp", "may")
            assert where["[203.0.113.40]"] == ("ndb", "encrypt")
            assert "[203.0.113.30]" not in where


def test_an_own_tls_policy_in_front(wired: Town) -> None:
    own = wired.folder / "policies"
    own.write_text("[203.0.113.40]\tnone\n")
    wired.postfix.postmap(f"hash:{own}")
    wired.postfix.postconf("-P", f"ndb/unix/smtp_tls_policy_maps=hash:{own},{wired.tls}")
    rows = [row for row in wired.json("sync")["own_rows"] if row["kind"] == "tls"]
    assert [(row["key"], row["value"], row["ours"]) for row in rows] == [("[203.0.113.40]", "none", "encrypt")]
    assert wired.json("explain", "--recipient", "u@new1.example")["tls_policy"] == {"[203.0.113.40]": "none"}


def test_after_the_page_no_own_row_is_left_in_front(wired: Town) -> None:
    status, tables = wired.run("compare", "--toml", f"lmdb:{wired.old}")
    assert status == 1
    partners = parse(wired.gateway.config.read_text() + tables, str(wired.gateway.config)).partners
    assert {item.key for item in partners} == set(ONLY_HERE)
    wired.configure(partners=tables)
    assert wired.run("sync")[0] == 0
    found = wired.json("compare", f"lmdb:{wired.old}")
    assert (found["only_here"], found["same"]) == ([], 59)
    wired.write_old({key: OLD[key] for key in ("city.example", "*")})
    assert wired.json("sync")["own_rows"] == []
    wired.postfix.reload()  # else trivial-rewrite takes ten seconds to see a changed table
    assert not {"partner-overridden", "own-table"} & {name for name, _ in wired.findings()}
    assert not [text for text in wired.json("status")["problems"] if "in front of" in text]
    for recipient, transport in {
        "u@dortmund.example": "ndb:[203.0.113.30]",
        "chef@d01.example": "ndb:[198.51.100.1]",
        "u@amt.land.example": "ndb:[203.0.113.33]",
        "u@bank.example": "smtp:[198.51.100.240]:587, [198.51.100.241]:587",
        "u@court.example": "smtp:[198.51.100.242], [198.51.100.243]:26",
        "u@elsewhere.example": "smtp:[198.51.100.252]",
        # Own domains below a listed suffix go by the row for all other mail, as if there were no closedmail.
        "u@own.land.example": "smtp:[198.51.100.252]",
        "u@x.own.land.example": "smtp:[198.51.100.252]",
    }.items():
        assert wired.sent(recipient) == transport
