"""The units on a booted Debian with our package: what a mail starts, restarts under load, the watchdog, the sandbox.

With CLOSEDMAIL_TEST_DEBIAN=trixie in the environment it is Debian 13.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from support.daemon import PolicyClient
from support.keys import Signer
from support.machines.deb import build, renumbered
from support.machines.machine import NEEDS, BootedMachine, systemd_tree, until

from closedmail import __version__
from closedmail.demo.smtp_client import SmtpReply

pytestmark = pytest.mark.real(*NEEDS, "gpg")

SERVICES = ("closedmail-policyd.service", "closedmail-milter.service", "closedmail-sync.service")
UNITS = (*SERVICES, "closedmail-policyd.socket", "closedmail-sync.timer")
POLICYD, MILTER = SERVICES[:2]
RIGHT, WRONG = "127.0.0.10", "127.0.0.66"
PARTNER = "registry@koeln.example"

# Nothing of [policyd]: what the package opens is what Debian's Postfix asks.
CONFIG = """\
[gateway]
own_domains = ["city.example"]
{gateway}
[postfix]
{postfix}
[policyd]
{policyd}
[milter]
listen = ["unix:/var/spool/postfix/closedmail/milter.sock", "inet:127.0.0.1:8891"]
socket_group = "postfix"
[network.ndb]
source = "/etc/closedmail/list.asc"
key_file = "/etc/closedmail/network-key.asc"
signing_keys = ["{signer}"]
outbound = {{tls = "encrypt", transport = "smtp"}}
inbound = {{mode = "enforce", allow_from = ["127.0.0.10"]}}
"""
CHECK = "check_policy_service unix:closedmail/policy.sock"
POSTFIX = {
    "mydestination": "city.example",
    "local_transport": "discard:",
    "local_recipient_maps": "",
    "smtpd_sender_restrictions": CHECK,
    "smtpd_data_restrictions": CHECK,
}


class Gateway:
    """The machine, and what was seen on it while it was set up."""

    def __init__(self, machine: BootedMachine, folder: Path, signer: Signer) -> None:
        self.machine, self._signer = machine, signer
        self.package = build(folder)
        machine.install(renumbered(self.package, f"{__version__}~previous", folder))
        self.failed_at_first = machine.systemctl("--failed", "--no-legend")
        machine.systemctl("start", "closedmail-sync")
        self.first_sync = machine.show("closedmail-sync.service", "Result"), machine.journal("closedmail-sync")
        machine.write("/etc/closedmail/network-key.asc", signer.public())
        machine.write("/etc/closedmail/list.asc", signer.clearsign(b"koeln.example esmtp:[192.0.2.20]\n"))
        self.configure()
        machine.systemctl("start", "closedmail-sync")
        machine.postconf(POSTFIX)

    def configure(self, gateway: str = "", postfix: str = "", policyd: str = "") -> None:
        text = CONFIG.format(gateway=gateway, postfix=postfix, policyd=policyd, signer=self._signer.fingerprint)
        self.machine.write("/etc/closedmail/closedmail.toml", text)

    def main_pid(self, unit: str = POLICYD) -> int:
        return int(self.machine.show(unit, "MainPID"))

    def wait_for_another(self, pid: int, unit: str = POLICYD) -> int:
        """The process that has taken that one's place."""
        return until(lambda: (new := self.main_pid(unit)) != pid and new, "nobody missed it")

    def signal(self, number: signal.Signals, pid: int) -> None:
        self.machine.run("kill", f"-{number.value}", str(pid))

    def check(self) -> None:
        """Mail is decided as it should be."""
        assert refused(self.machine.send(PARTNER, WRONG))
        assert self.machine.send(PARTNER, RIGHT).accepted


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("deb")
    signer = Signer(folder / "gpg", "Network <list@ndb.example>")
    try:
        suite = os.environ.get("CLOSEDMAIL_TEST_DEBIAN", "bookworm")
        with BootedMachine(partial(systemd_tree, suite)) as machine:
            yield Gateway(machine, folder, signer)
    finally:
        signer.stop()


@pytest.fixture
def machine(gateway: Gateway) -> BootedMachine:
    return gateway.machine


def refused(reply: SmtpReply) -> bool:
    return (reply.stage, reply.code) == ("rcpt", 554) and "koeln.example" in reply.text


# What the package brings


def test_nothing_has_failed_before_anything_is_filled_in(gateway: Gateway) -> None:
    assert gateway.failed_at_first == ""
    result, journal = gateway.first_sync
    assert result == "exec-condition"
    assert "nothing is set in /etc/closedmail/closedmail.toml yet" in journal


def test_systemd_likes_the_units(machine: BootedMachine) -> None:
    done = machine.run("systemd-analyze", "--man=no", "verify", *UNITS)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("unit", SERVICES)
def test_each_service_is_in_a_sandbox(machine: BootedMachine, unit: str) -> None:
    machine.run("systemd-analyze", "security", "--threshold=13", unit)
    assert machine.run("systemd-analyze", "security", "--threshold=5", unit, check=False).returncode == 1


def test_the_timer_waits(machine: BootedMachine) -> None:
    assert "closedmail-sync.timer" in machine.systemctl("list-timers")


def test_sync_has_published_the_signed_list(machine: BootedMachine) -> None:
    assert machine.show("closedmail-sync.service", "Result") == "success"
    status = machine.run("closedmail", "status", "--json", check=False)
    found = json.loads(status.stdout)
    assert (found["generation"], found["networks"]["ndb"]["domains"]) == (1, 1)
    assert machine.run("postmap", "-q", "koeln.example", "/var/lib/closedmail/postfix/transport").stdout
    folder = machine.run("stat", "-c", "%U %a", "/var/lib/closedmail").stdout
    assert folder == "closedmail 755\n"


def test_sync_writes_to_a_folder_elsewhere_as_the_unit_says(gateway: Gateway, machine: BootedMachine) -> None:
    machine.run("install", "-d", "-o", "closedmail", "/srv/maps")
    gateway.configure(postfix='map_dir = "/srv/maps"')
    try:
        machine.systemctl("start", "closedmail-sync", check=False)
        assert machine.show("closedmail-sync.service", "Result") == "exit-code"
        assert "publish-failed" in machine.journal("closedmail-sync")
        machine.drop_in("closedmail-sync.service", "[Service]\nReadWritePaths=/srv/maps\n")
        machine.systemctl("start", "closedmail-sync")
        assert (machine.root / "srv/maps/transport").exists()
    finally:
        gateway.configure()
        machine.systemctl("start", "closedmail-sync")
        machine.systemctl("reset-failed")


# policyd


def test_the_first_mail_starts_policyd(gateway: Gateway, machine: BootedMachine) -> None:
    machine.systemctl("stop", POLICYD)
    assert machine.show(POLICYD, "ActiveState") == "inactive"
    gateway.check()
    assert machine.show(POLICYD, "ActiveState") == "active"
    assert machine.show(POLICYD, "StatusText").startswith("generation ")
    assert "is kept open by closedmail-policyd.socket" in machine.journal(POLICYD)


def test_the_sockets_are_postfix_s_group_s_alone(machine: BootedMachine) -> None:
    places = ("/run/closedmail/policy.sock", "/var/spool/postfix/closedmail/policy.sock")
    assert machine.run("stat", "-c", "%U %G %a", *places).stdout == 2 * "closedmail postfix 660\n"


class Load:
    """`with Load(machine) as load:` mail and requests without a pause; what was lost or answered wrongly is `bad`."""

    def __init__(self, machine: BootedMachine) -> None:
        self._machine = machine
        self._where = f"unix:{machine.root}/run/closedmail/policy.sock"
        self._over = threading.Event()
        self.bad: list[str] = []
        self.mails = [0, 0]  # from the right address, and from the wrong one
        self.requests = [0, 0]
        work = (self._send, self._ask)
        self._threads = [threading.Thread(target=each, args=(wrong,)) for each in work for wrong in (0, 1)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Wait until each kind was answered some more times."""
        before = [*self.mails, *self.requests]
        until(
            lambda: self.bad or all(n > m + 2 for n, m in zip([*self.mails, *self.requests], before, strict=True)),
            "no answers any more",
        )

    def _send(self, wrong: int) -> None:
        while not self._over.is_set():
            reply = self._machine.send(PARTNER, (RIGHT, WRONG)[wrong])
            self.mails[wrong] += 1
            if not (refused(reply) if wrong else reply.accepted):
                self.bad.append(f"mail {wrong}: {reply}")

    def _ask(self, wrong: int) -> None:
        """As Postfix does: one connection for all requests, and one more try where it is closed without an answer."""
        client: PolicyClient | None = None
        while not self._over.is_set():
            answer = None
            for _ in range(2):
                try:
                    client = client or PolicyClient(self._where)
                except OSError as error:  # a socket that is kept open refuses nobody
                    self.bad.append(f"request {wrong}: {error}")
                    return
                try:
                    answer = client.ask(
                        sender=PARTNER, client_address=(RIGHT, WRONG)[wrong], instance="1.2"
                    )  # logged once
                except OSError:
                    answer = None
                if answer:
                    break
                client.close()
                client = None
            self.requests[wrong] += 1
            if not (answer or "").startswith(("DUNNO", "REJECT 5.7.1")[wrong]):
                self.bad.append(f"request {wrong}: {answer}")
        if client:
            client.close()


def test_restart_reload_and_upgrade_lose_nothing(gateway: Gateway, machine: BootedMachine) -> None:
    machine.systemctl("start", POLICYD)
    pids = {gateway.main_pid()}
    with Load(machine) as load:
        for _ in range(3):
            load.go_on()
            machine.systemctl("restart", POLICYD)
            pids.add(gateway.main_pid())
            load.go_on()
            machine.systemctl("reload", POLICYD)
        load.go_on()
        gateway.signal(signal.SIGKILL, gateway.main_pid())
        load.go_on()
        pids.add(gateway.main_pid())
        load.go_on()
        said = machine.install(gateway.package)
        pids.add(gateway.main_pid())
        load.go_on()
    assert load.bad == []
    assert len(pids) == 6
    assert f"over ({__version__}~previous)" in said
    assert "Traceback" not in machine.journal(POLICYD)


def found_on_listening(machine: BootedMachine) -> list[str]:
    """What doctor finds of the daemons' TCP sockets."""
    found = json.loads(machine.run("closedmail", "doctor", "--json", check=False).stdout)["findings"]
    return [each["id"] for each in found if each["id"] in ("unit-address", "listen-everywhere", "listen-shared")]


def test_a_reload_is_in_force_and_a_bad_one_changes_nothing(gateway: Gateway, machine: BootedMachine) -> None:
    machine.systemctl("start", POLICYD)
    pid = gateway.main_pid()
    try:
        gateway.configure(policyd='metrics_listen = "inet:0.0.0.0:9810"')
        machine.systemctl("reload", POLICYD)
        until(lambda: machine.can_connect("127.0.0.1", 9810), "no metrics")
        assert found_on_listening(machine) == ["unit-address"]
        machine.systemctl("set-property", POLICYD, "IPAddressAllow=192.0.2.0/24")
        assert found_on_listening(machine) == ["listen-everywhere"]
        machine.systemctl("revert", POLICYD)
        gateway.configure(policyd="no_such_key = 1")
        machine.systemctl("reload", POLICYD)
        until(lambda: "going on with" in machine.show(POLICYD, "StatusText"), "no word of it")
        assert machine.show(POLICYD, "ActiveState") == "active"
        gateway.check()
    finally:
        gateway.configure()
        machine.systemctl("reload", POLICYD)
    until(lambda: machine.show(POLICYD, "StatusText").startswith("generation "), "not well again")
    assert gateway.main_pid() == pid


def test_a_wrong_configuration_defers_mail_until_it_is_mended(gateway: Gateway, machine: BootedMachine) -> None:
    try:
        gateway.configure(policyd="no_such_key = 1")
        machine.systemctl("restart", POLICYD, check=False)
        machine.postconf({"smtpd_policy_service_timeout": "1s"})
        reply = machine.send(PARTNER, WRONG)
        assert (reply.stage, reply.code) == ("rcpt", 451)
        assert "closedmail: error: policyd.no_such_key: unknown key" in machine.journal(POLICYD)
        assert machine.show("closedmail-policyd.socket", "ActiveState") == "active"
    finally:
        gateway.configure()
        machine.postconf({"smtpd_policy_service_timeout": "100s"})
    gateway.check()  # without a word to systemd


def test_a_policyd_that_dies_again_and_again_is_started_again(gateway: Gateway, machine: BootedMachine) -> None:
    machine.drop_in(POLICYD, "[Service]\nRestartSec=10ms\n")
    try:
        machine.systemctl("restart", POLICYD)
        pid = gateway.main_pid()
        for _ in range(8):  # systemd's own limit is 5 in 10 seconds
            gateway.signal(signal.SIGKILL, pid)
            pid = gateway.wait_for_another(pid)
        gateway.check()
    finally:
        machine.drop_in(POLICYD, "")


def test_the_watchdog_replaces_a_policyd_that_hangs(gateway: Gateway, machine: BootedMachine) -> None:
    machine.drop_in(POLICYD, "[Service]\nWatchdogSec=2s\n")
    try:
        machine.systemctl("restart", POLICYD)
        pid = gateway.main_pid()
        gateway.signal(signal.SIGSTOP, pid)
        gateway.wait_for_another(pid)
        assert "watchdog" in machine.journal(POLICYD).lower()
        gateway.check()
    finally:
        machine.drop_in(POLICYD, "")
        machine.systemctl("restart", POLICYD)


# The milter


def test_the_end_of_the_milter_leaves_the_policy_sockets_alone(gateway: Gateway, machine: BootedMachine) -> None:
    machine.systemctl("start", MILTER)
    machine.systemctl("stop", MILTER)
    test_the_sockets_are_postfix_s_group_s_alone(machine)
    gateway.check()


@pytest.fixture(scope="module")
def milter(gateway: Gateway) -> None:
    """Running, and asked by Postfix in the place of policyd, for the tests that follow."""
    machine = gateway.machine
    machine.drop_in(MILTER, "[Service]\nWatchdogSec=6s\n")
    machine.systemctl("start", MILTER)
    machine.postconf(
        {
            "smtpd_milters": "unix:closedmail/milter.sock",
            "smtpd_sender_restrictions": "",
            "smtpd_data_restrictions": "",
        }
    )


def check_milter(machine: BootedMachine) -> None:
    reply = machine.send(PARTNER, WRONG)
    assert (reply.stage, reply.code, reply.text[:5]) == ("rcpt", 550, "5.7.1"), reply
    assert machine.send(PARTNER, RIGHT).accepted


@pytest.mark.usefixtures("milter")
def test_the_milter_answers_is_reloaded_and_restarted(gateway: Gateway, machine: BootedMachine) -> None:
    check_milter(machine)
    machine.systemctl("reload", MILTER)
    check_milter(machine)
    pid = gateway.main_pid(MILTER)
    machine.systemctl("restart", MILTER)
    assert gateway.main_pid(MILTER) != pid
    assert (machine.root / "var/lib/closedmail/counters/milter.json").exists()
    check_milter(machine)
    assert machine.show(MILTER, "StatusText").startswith("2 sockets")


@pytest.mark.usefixtures("milter")
def test_a_process_of_the_milter_that_hangs_is_replaced_alone(gateway: Gateway, machine: BootedMachine) -> None:
    pid = gateway.main_pid(MILTER)

    def children() -> list[int]:
        found = machine.run("ps", "--ppid", str(pid), "-o", "pid=", check=False).stdout
        return [int(each) for each in found.split()]

    first, second = children()
    gateway.signal(signal.SIGSTOP, first)
    until(lambda: first not in children() and len(children()) == 2, "nobody missed it")
    assert second in children()
    assert gateway.main_pid(MILTER) == pid
    until(lambda: machine.send(PARTNER, WRONG).code == 550, "the milter is not back")
    assert machine.can_connect("127.0.0.1", 8891)
    check_milter(machine)


@pytest.mark.usefixtures("milter")
def test_a_milter_that_hangs_is_replaced(gateway: Gateway, machine: BootedMachine) -> None:
    pid = gateway.main_pid(MILTER)
    gateway.signal(signal.SIGSTOP, pid)
    gateway.wait_for_another(pid, MILTER)
    until(lambda: machine.show(MILTER, "ActiveState") == "active", "not well again")
    check_milter(machine)
