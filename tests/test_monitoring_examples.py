"""postfix-examples/monitoring: each file as the program that reads it takes it, and only with what closedmail tells."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.daemon import Daemon
from support.gateway import make_gateway
from support.real import find

from closedmail.config import load
from closedmail.status.status import find_status
from closedmail.status.textfile import families

FOLDER = Path(__file__).parents[1] / "postfix-examples" / "monitoring"
ALERTS = FOLDER / "alerts.yml"
DASHBOARD = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
RIGHT, WRONG = "192.0.2.1", "192.0.2.9"
DAY = 86400


def run(*command: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [str(find(command[0])), *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# Icinga, NRPE, sudo


ICINGA = """\
include <itl>
template Host "generic-host" {{ check_command = "dummy" }}
object Endpoint "master" {{}}
object Zone "master" {{ endpoints = [ "master" ] }}
object Endpoint "agent" {{}}
object Zone "agent" {{ endpoints = [ "agent" ]; parent = "master" }}
object Host "elsewhere" {{ import "generic-host" }}
object Host "remote" {{
  import "generic-host"; zone = "master"; vars.closedmail = true; vars.agent_endpoint = "agent"
}}
{host}
include "{file}"
"""


@pytest.mark.real("icinga2")
def test_icinga_takes_it(open_directory: Path) -> None:
    """With the host that its comment shows; only hosts that ask for it get the service.

    Started as root, Icinga goes on as a user of its own, who may not be able to reach the checkout: it gets a copy.
    """
    folder = open_directory
    file = folder / "closedmail.conf"
    shutil.copyfile(FOLDER / "icinga2.conf", file)
    host = re.search(r"^//   (object Host .*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert host
    (folder / "icinga2.conf").write_text(ICINGA.format(host=host[1], file=file))
    (folder / "cache").mkdir()
    (folder / "cache").chmod(0o777)
    objects = folder / "cache" / "objects"
    own = [f"DataDir={folder}/data", f"CacheDir={folder}/cache", f"ObjectsPath={objects}"]
    defined = [part for name in (*own, "NodeName=master", "ZoneName=master") for part in ("-D", name)]
    said = run("icinga2", "daemon", "-C", "-c", str(folder / "icinga2.conf"), *defined)
    assert not re.search("warning|critical", said), said
    listed = run("icinga2", "object", "list", "--type", "Service", *defined)
    assert set(re.findall(r"^Object '(.*)' of type", re.sub(r"\x1b\[[0-9;]*m", "", listed), re.MULTILINE)) == {
        "gateway.city.example!closedmail",
        "remote!closedmail",
    }


def test_all_of_them_run_the_same_command() -> None:
    icinga = re.search(r"command = (\[.*\])", (FOLDER / "icinga2.conf").read_text(encoding="utf-8"))
    nrpe = re.search(r"^command\[check_closedmail\]=(.*)$", (FOLDER / "nrpe.cfg").read_text(), re.MULTILINE)
    sudoers = re.search(r"^nagios ALL=\((\w+)\) NOPASSWD: (.*)$", (FOLDER / "sudoers").read_text(), re.MULTILINE)
    assert icinga
    assert nrpe
    assert sudoers
    command = json.loads(icinga[1])
    assert command == shlex.split(nrpe[1])
    assert command[:4] == ["/usr/bin/sudo", "-n", "-u", sudoers[1]]
    assert command[4:] == shlex.split(sudoers[2])
    assert command[4:] == ["/opt/closedmail/bin/closedmail", "status", "--nagios"]


@pytest.mark.real("visudo")
def test_sudo_takes_it() -> None:
    assert "parsed OK" in run("visudo", "-c", "-f", str(FOLDER / "sudoers"))


# Names


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """The names of the textfile, and those of metrics_listen."""
    gateway = make_gateway(tmp_path_factory.mktemp("gateway"), policyd='metrics_listen = "inet:127.0.0.1:0"')
    with Daemon(gateway.config) as daemon:
        daemon.ask(sender="u@koeln.example", client_address=WRONG)
        where = daemon.wait_for(r"^metrics are served on inet:(\S+)$")[1]
        with urlopen(f"http://{where}/metrics", timeout=15) as page:
            found = text_string_to_metric_families(page.read().decode())
            served = {sample.name for family in found for sample in family.samples}
    status = find_status(load(gateway.config), 0)
    return {family.name for family in families(status, 0)}, served


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def names_in(texts: Sequence[str]) -> set[str]:
    return {name for text in texts for name in re.findall(r"\bclosedmail_\w+", text)}


def test_nothing_is_told_twice(exported: tuple[set[str], set[str]]) -> None:
    """Who scrapes the textfile and metrics_listen must not count a mail twice."""
    textfile, served = exported
    assert textfile & served == set()


def test_rules_and_dashboard_ask_only_for_what_there_is(exported: tuple[set[str], set[str]]) -> None:
    rules = names_in(re.findall(r"expr: (.*)", ALERTS.read_text(encoding="utf-8")))
    assert len(rules) > 10
    queries = [
        variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["name"] != "datasource"
    ]
    board = names_in([*expressions(), *queries])
    assert len(board) > 10
    assert rules | board <= exported[0] | exported[1]
    # Whatever the textfile tells, somebody looks at.
    assert exported[0] <= rules | board


# Prometheus


@pytest.mark.real("promtool")
def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    rules = [
        {"record": f"x:{number}", "expr": text.replace("$instance", ".*")} for number, text in enumerate(expressions())
    ]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "x", "rules": rules}]}))  # JSON is YAML
    assert f"SUCCESS: {len(rules)} rules found" in run("promtool", "check", "rules", str(file))


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


# The alert, what is told over the hours (as promtool writes series), and when it is to fire.
NET, AT = 'network="ndb",instance="gw"', 'instance="gw"'
CASES: list[tuple[str, dict[str, str], list[tuple[str, dict[str, str] | None]]]] = [
    ("ClosedmailCritical", {f"closedmail_state{{{AT}}}": "2x120"}, [("9m", None), ("10m", {})]),
    ("ClosedmailCritical", {f"closedmail_state{{{AT}}}": "1x120"}, [("90m", None)]),
    ("ClosedmailWarning", {f"closedmail_state{{{AT}}}": "1x120"}, [("59m", None), ("60m", {})]),
    ("ClosedmailWarning", {f"closedmail_state{{{AT}}}": "0x120"}, [("90m", None)]),
    (
        "ClosedmailDoesNotSync",
        {f"closedmail_state_timestamp_seconds{{{AT}}}": "0x300"},
        [("180m", None), ("181m", {})],
    ),
    (
        "ClosedmailFetchTooOld",
        {
            f"closedmail_network_fetched_timestamp_seconds{{{NET}}}": "0x1500",
            f"closedmail_network_fetch_max_age_seconds{{{NET}}}": f"{DAY}x1500",
        },
        [("1440m", None), ("1441m", {"network": "ndb"})],
    ),
    (
        "ClosedmailSignatureTooOld",
        {
            f"closedmail_network_signed_timestamp_seconds{{{NET}}}": "0x200",
            f"closedmail_network_max_age_seconds{{{NET}}}": "7200x200",
        },
        [("120m", None), ("121m", {"network": "ndb"})],
    ),
    ("ClosedmailSignatureTooOld", {f"closedmail_network_signed_timestamp_seconds{{{NET}}}": "0x200"}, [("190m", None)]),
    (
        "ClosedmailListRefused",
        {f'closedmail_network_refused{{{NET},code="shrunk"}}': "1x60"},
        [("29m", None), ("30m", {"network": "ndb", "code": "shrunk"})],
    ),
    ("ClosedmailListRefused", {f'closedmail_network_refused{{{NET},code=""}}': "0x60"}, [("50m", None)]),
    (
        "ClosedmailDomainsHeld",
        {f"closedmail_held_domains{{{NET}}}": "0x10 3x20"},
        [("15m", None), ("16m", {"network": "ndb"})],
    ),
    (
        "ClosedmailKeyExpires",
        {f'closedmail_network_key_expiry_timestamp_seconds{{{NET},fingerprint="AB"}}': f"{30 * DAY + 3600}x200"},
        [("60m", None), ("61m", {"network": "ndb", "fingerprint": "AB"})],
    ),
    (
        "ClosedmailKeyExpires",  # one that has expired is no news: usable_keys tells where that matters
        {f'closedmail_network_key_expiry_timestamp_seconds{{{NET},fingerprint="AB"}}': "3600x200"},
        [("59m", {"network": "ndb", "fingerprint": "AB"}), ("61m", None)],
    ),
    (
        "ClosedmailNoUsableKey",
        {f"closedmail_network_usable_keys{{{NET}}}": "1x5 0x5"},
        [("5m", None), ("6m", {"network": "ndb"})],
    ),
    (
        "ClosedmailManyRefusals",
        {
            f'closedmail_mails_total{{{NET},door="policyd",verdict="reject",reason="address"}}': "0+1x400",
            f'closedmail_mails_total{{{NET},door="policyd",verdict="accept",reason="ok"}}': "0+100x400",
        },
        [("90m", None), ("150m", {"network": "ndb"})],
    ),
    (
        "ClosedmailPolicydDown",
        {'up{job="closedmail-policyd",instance="gw"}': "0x10"},
        [("1m", None), ("2m", {"job": "closedmail-policyd"})],
    ),
    (
        "ClosedmailStoreUnreadable",
        {f"closedmail_policyd_store_errors_total{{{AT}}}": "0x20 5x20"},
        [("20m", None), ("22m", {})],
    ),
    (
        "ClosedmailProtocolErrors",
        {f"closedmail_policyd_protocol_errors_total{{{AT}}}": "0x60 20x20"},
        [("59m", None), ("62m", {})],
    ),
    (
        "ClosedmailFingerprintDigest",
        {f"closedmail_policyd_incomparable_certificates_total{{{AT}}}": "0x60 1x20"},
        [("59m", None), ("62m", {})],
    ),
]


@pytest.mark.real("promtool")
def test_when_alerts_fire(tmp_path: Path) -> None:
    """promtool runs all cases; summaries are taken out, since it would compare their words."""
    rules = re.sub(r"^ +(annotations:|summary: .*)\n", "", ALERTS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    severities = dict(re.findall(r"alert: (\w+).*?severity: (\w+)", rules, re.DOTALL))
    (tmp_path / "alerts.yml").write_text(rules)
    assert set(severities) == {name for name, _, _ in CASES}
    tests: list[dict[str, Any]] = []
    for name, series, moments in CASES:
        fired = {"severity": severities[name]}
        tests.append(
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": values} for key, values in series.items()],
                "alert_rule_test": [
                    {
                        "eval_time": when,
                        "alertname": name,
                        "exp_alerts": [] if labels is None else [{"exp_labels": {**fired, "instance": "gw", **labels}}],
                    }
                    for when, labels in moments
                ],
            }
        )
    file = tmp_path / "tests.json"
    file.write_text(
        json.dumps({"rule_files": [str(tmp_path / "alerts.yml")], "evaluation_interval": "1m", "tests": tests})
    )
    assert "SUCCESS" in run("promtool", "test", "rules", str(file))


@pytest.mark.real("promtool")
def test_promtool_takes_the_alerts_as_they_are() -> None:
    count = ALERTS.read_text(encoding="utf-8").count("- alert:")
    assert f"SUCCESS: {count} rules found" in run("promtool", "check", "rules", str(ALERTS))


# logcheck


@pytest.mark.real("grep")
def test_logcheck_passes_over_what_was_accepted(tmp_path: Path) -> None:
    """The daemon's own lines, with what syslog puts in front in both of Debian's ways."""
    gateway = make_gateway(tmp_path)
    with Daemon(gateway.config) as daemon:
        for client, instance in ((RIGHT, "a"), (WRONG, "b")):
            daemon.ask(sender="u@koeln.example", client_address=client, instance=instance)
        accepted = daemon.wait_for(r"^network=.* verdict=accept .*$")[0]
        rejected = daemon.wait_for(r"^network=.* verdict=reject .*$")[0]
    file = tmp_path / "log"
    for head in (
        "Nov  4 09:12:40 gateway closedmail[4711]: ",
        "2026-11-24T09:12:40.123456+01:00 gateway closedmail[4711]: ",
    ):
        file.write_text(
            "".join(f"{head}{line}\n" for line in (accepted, f"{accepted} door=milter part=header", rejected))
        )
        left = run("grep", "-E", "-v", "-f", str(FOLDER / "logcheck"), str(file))
        assert left == f"{head}{rejected}\n"


def test_the_page_names_every_file() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = {path.name for path in FOLDER.iterdir()} - {"README.md"}
    assert files == set(re.findall(r"\]\(([a-z0-9.]+)\)", page))
