"""Every closedmail command that is proposed names the configuration file that was given."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.network import DAY, Site

from closedmail.config import parse
from closedmail.core.model import Config
from closedmail.core.partner_keys import PartnerKeys
from closedmail.core.rule import rules_of
from closedmail.doctor.checks.policy_endpoint import policyd_findings
from closedmail.doctor.checks.postfix_certificates import certificate_findings
from closedmail.doctor.checks.postfix_domains import domain_findings
from closedmail.doctor.checks.postfix_tables import map_findings
from closedmail.doctor.checks.running import Running, state_findings
from closedmail.doctor.checks.sendmail_certificates import sendmail_certificate_findings
from closedmail.doctor.checks.sendmail_domains import sendmail_domain_findings
from closedmail.doctor.checks.sendmail_milter import milter_findings
from closedmail.doctor.checks.sendmail_tables import sendmail_map_findings
from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_facts import FileState, PostfixFacts
from closedmail.doctor.running_state import read_state
from closedmail.doctor.sendmail_facts import PathState, SendmailFacts
from closedmail.mta.postfix_config import PostfixConfig, Service
from closedmail.mta.sendmail_cf import parse_cf
from closedmail.status.problems import Problem, ProblemKind
from closedmail.status.status import find_status
from closedmail.sync.run import sync

PACKAGE = Path(__file__).parents[1] / "closedmail"
WHERE = "/some/where.toml"
NAMED = f"closedmail --config {WHERE} "
COMMANDS = (
    "demo|doctor|explain|export|history|lint|milter|policyd|probe|release|replay|report|rollback|setup|status|sync"
)
COMMAND = re.compile(rf"\bclosedmail (?:{COMMANDS})\b")
# Texts that name a program or a page and propose no command, or that know of no configuration file.
NO_PROPOSALS = (
    "closedmail policyd is listening",
    "closedmail milter is listening",
    "(closedmail policyd or milter)",
    "by closedmail sync, which replaces this file",
    "3. closedmail sync",  # the demo's steps
    "4. closedmail policyd",
)
MARK = "closedmail export"  # of an export
CONFIG = parse(
    f"""
[gateway]
own_domains = ["city.example"]
[postfix]
[sendmail]
own_access = "/own"
[network.ndb]
source = "/list"
signature = "none"
outbound = {{ transport = "ndb", tls = "encrypt" }}
inbound = {{ mode = "enforce", require = "cert", certificates = [{{ fingerprint = "{"AB" * 32}" }}] }}
""",
    WHERE,
)
KEYS = frozenset({"koeln.example"})


class NoMachine:
    """Nothing is there, and nobody answers."""

    def file(self, _path: str) -> FileState:
        return FileState()

    def path(self, _path: str) -> PathState:
        return PathState()

    def table(self, _table: str) -> None:
        return None

    def lines(self, _path: str) -> list[str]:
        return []

    def unreadable(self, _path: str) -> str:
        return ""

    def answers(self, _where: str) -> bool:
        return False

    def stranger(self, _where: str) -> str:
        return ""

    def has_program(self, _name: str) -> bool:
        return True


def postfix(**main: str) -> PostfixFacts:
    listener = Service("smtp", "inet", False, "smtpd", {}, main)
    return PostfixFacts(
        CONFIG, tuple(rules_of(CONFIG)), PostfixConfig((3, 7), main, main, (listener,)), NoMachine(), KEYS
    )


def sendmail(text: str, access: dict[str, str] | None = None) -> SendmailFacts:
    partners = PartnerKeys(CONFIG, KEYS)
    return SendmailFacts(CONFIG, tuple(rules_of(CONFIG)), parse_cf(text), NoMachine(), partners, access or {})


def problem(kind: ProblemKind) -> Problem:
    return Problem(kind, "critical", "…", "ndb")


SITUATIONS: dict[str, Callable[[], Iterator[Finding]]] = {
    "nothing in force": lambda: state_findings(CONFIG, Running(trouble="…", cron=True)),
    "never fetched": lambda: state_findings(CONFIG, Running(generation=1, cron=True, ages=(problem("never-fetched"),))),
    "no timer": lambda: state_findings(CONFIG, Running(generation=1, timer="missing")),
    "policyd": lambda: policyd_findings(postfix(), None),
    "no maps": lambda: map_findings(postfix(default_database_type="lmdb")),
    "another's domain": lambda: domain_findings(postfix(relay_domains="a.example")),
    "a partner's domain": lambda: domain_findings(postfix(mydestination="koeln.example")),
    "no certificates in the log": lambda: certificate_findings(postfix(smtpd_tls_loglevel="1")),
    "the wrong digest": lambda: certificate_findings(postfix(smtpd_tls_fingerprint_digest="md5")),
    "milter": lambda: milter_findings(sendmail(""), None),
    "Sendmail's maps": lambda: sendmail_map_findings(
        sendmail("Kmailertable hash /etc/mail/mailertable\nKaccess hash /etc/mail/access\n")
    ),
    "Sendmail, another's domain": lambda: sendmail_domain_findings(sendmail("Cwa.example\n")),
    "Sendmail, a partner's domain": lambda: sendmail_domain_findings(sendmail("Cwkoeln.example\n")),
    "Sendmail, relaying by any certificate": lambda: sendmail_domain_findings(sendmail("", {"certissuer:x": "RELAY"})),
    "Sendmail asks for no certificate": lambda: sendmail_certificate_findings(sendmail("", {"srv_features:": "V"})),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_findings(name: str) -> None:
    found = list(SITUATIONS[name]())
    said = "\n".join(line for finding in found for line in (finding.text, *finding.fix))
    assert NAMED in said
    assert COMMAND.findall(said) == []


def elsewhere(site: Site) -> Config:
    """The same gateway, its file read from somewhere else."""
    return replace(site.config, path=WHERE)


def check_status(site: Site, *words: str, later: int = 0) -> None:
    """What status says, and doctor of the store: with these commands, and no other ones."""
    status = find_status(elsewhere(site), site.now + later)
    trouble = read_state(elsewhere(site), site.now + later).trouble
    said = "\n".join((*status.problems, trouble))
    for word in words:
        assert f"{NAMED}{word}" in said
    assert COMMAND.findall(said) == []


def test_status_before_the_first_sync(plain: Site) -> None:
    check_status(plain, "sync")


def test_status_of_an_old_list_and_of_maps_that_are_gone(plain: Site) -> None:
    plain.put("koeln.example\tesmtp:[192.0.2.1]\n")
    plain.sync()
    for path in plain.map_dir.iterdir():
        path.unlink()
    plain.set(fetch_max_age="1d")
    check_status(plain, "sync", later=3 * DAY)


def test_status_of_a_store_that_is_broken(plain: Site) -> None:
    plain.put("koeln.example\tesmtp:[192.0.2.1]\n")
    plain.sync()
    data = plain.state_dir / "store" / "data.mdb"
    data.write_bytes(data.read_bytes()[:8192])
    check_status(plain, "sync")


def test_status_of_a_list_that_was_refused(plain: Site) -> None:
    plain.put("".join(f"d{number}.example\tesmtp:[192.0.2.1]\n" for number in range(50)))
    sync(elsewhere(plain), now=plain.now)
    plain.put("d1.example\tesmtp:[192.0.2.1]\n")
    report = sync(elsewhere(plain), now=plain.now)
    assert report.networks["ndb"].code == "shrunk"
    check_status(plain, "sync --network ndb --force")


@pytest.mark.parametrize(
    "arguments",
    [
        ("history",),
        ("rollback", "1"),
        ("release", "koeln.example"),
        ("explain", "--recipient", "a@koeln.example"),
        ("probe", "koeln.example"),
        ("export", "csv"),
    ],
)
def test_errors_of_the_command_line(plain: Site, arguments: tuple[str, ...]) -> None:
    done = plain.run(*arguments)
    assert done.status == 1
    assert f"run: closedmail --config {plain.config_path} sync" in done.stderr


def test_errors_about_one_domain(plain: Site) -> None:
    plain.put("koeln.example\tesmtp:[192.0.2.1]\n")
    plain.sync()
    for arguments, proposed in (
        (("release", "koeln.example"), "status"),
        (("probe", "bonn.example"), "explain --recipient bonn.example"),
        (("rollback", "9"), "history"),
    ):
        done = plain.run(*arguments)
        assert done.status == 1
        assert f"closedmail --config {plain.config_path} {proposed}" in done.stderr
        assert COMMAND.findall(done.stderr) == []


def test_why_a_domain_is_held(plain: Site) -> None:
    plain.put("koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n")
    plain.sync()
    plain.put("bonn.example\tesmtp:[192.0.2.2]\n")
    plain.sync(force=True)
    done = plain.run("explain", "--recipient", "koeln.example")
    assert f"the list lost it; closedmail --config {plain.config_path} release ends the hold." in done.stdout


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """All texts of a module but its docstrings, adjacent pieces together."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [node.body for node in ast.walk(tree) if hasattr(node, "body") and isinstance(node.body, list)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_no_command_is_written_out() -> None:
    """Who proposes one takes `Config.command`, `Fix.closedmail`, or `{closedmail}` in the remedy of an error."""
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, text in texts(path)
        if COMMAND.search(text) and text != MARK and not any(known in text for known in NO_PROPOSALS)
    ]
    assert found == []
