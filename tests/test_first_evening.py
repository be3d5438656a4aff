"""A Debian with Postfix and our package, nothing else: ten lines, `closedmail setup --yes`, and the gateway works.

Then each thing that an administrator may do wrong is done, and found.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from support.keys import Signer
from support.machines.deb import build
from support.machines.machine import NEEDS, BootedMachine, systemd_tree, until
from support.sink import Sink

from closedmail.demo.demo_certificates import Authority

pytestmark = pytest.mark.real(*NEEDS, "gpg", "openssl")

RIGHT, WRONG = "127.0.0.10", "127.0.0.66"
PARTNER, OWN = "registry@koeln.example", "root@city.example"

# The ten lines.
CONFIG = """\
[gateway]
own_domains = ["city.example"]
trusted_clients = ["127.0.0.1", "::1"]
[postfix]
[network.ndb]
source = "/etc/closedmail/list.asc"
key_file = "/etc/closedmail/network-key.asc"
signing_keys = ["SIGNER"]
outbound = { tls = "encrypt", smarthost = ["[127.0.0.20]:2525"] }
inbound = { mode = "enforce", allow_from = ["127.0.0.10"] }
"""
# What an administrator has before: Postfix as Debian sets it up for a host that is on the Internet.
POSTFIX = {
    "myhostname": "gateway.city.example",
    "mydestination": "$myhostname, city.example, localhost",
    "mynetworks": "127.0.0.1/32 [::1]/128",
    "smtpd_relay_restrictions": "permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
}


class Evening:
    """The machine, its partner's host, and what Postfix's files were before setup."""

    def __init__(self, machine: BootedMachine, partner: Sink, signer: str, files: list[bytes]) -> None:
        self.machine, self.partner, self.signer, self.files = machine, partner, signer, files

    def found(self) -> set[str]:
        """What doctor finds."""
        done = self.machine.run("closedmail", "doctor", "--json", check=False)
        found = {finding["id"] for finding in json.loads(done.stdout)["findings"]}
        assert done.returncode == bool(found)
        return found

    def check(self) -> None:
        """The main job: refused, delivered, routed."""
        reply = self.machine.send(PARTNER, WRONG, [OWN])
        assert (reply.stage, reply.code) == ("rcpt", 554), reply
        assert "koeln.example" in reply.text
        before = self._delivered()
        assert self.machine.send(PARTNER, RIGHT, [OWN]).accepted
        until(lambda: self._delivered() > before, "nothing was delivered")
        known = len(self.partner.mails)
        assert self.machine.send("mayor@city.example", "127.0.0.1", [PARTNER]).accepted
        until(lambda: len(self.partner.mails) > known, "nothing came to the partner")
        mail = self.partner.mails[-1]
        assert (mail.sender, mail.recipients) == ("mayor@city.example", (PARTNER,))
        assert mail.tls.startswith("TLS")

    def _delivered(self) -> int:
        box = self.machine.root / "var/mail/root"
        return box.read_bytes().count(b"\nReturn-Path:") + box.read_bytes().count(b"\nFrom ") if box.exists() else 0


def postfix_files(machine: BootedMachine) -> list[bytes]:
    return [(machine.root / "etc/postfix" / name).read_bytes() for name in ("main.cf", "master.cf")]


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def evening(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evening]:
    folder = tmp_path_factory.mktemp("evening")
    with ExitStack() as stack:
        signer = Signer(folder / "gpg", "Network <list@ndb.example>")
        stack.callback(signer.stop)
        certificate = Authority(folder, "Closed Net CA").issue("mx.koeln.example")
        machine = stack.enter_context(BootedMachine(partial(systemd_tree, request.param)))
        machine.postconf(POSTFIX)
        machine.install(build(folder))
        sink = machine.call(partial(Sink, "127.0.0.20", 2525, certificate=certificate.pair))
        stack.enter_context(sink)
        machine.write("/etc/closedmail/network-key.asc", signer.public())
        machine.write("/etc/closedmail/list.asc", signer.clearsign(b"koeln.example esmtp:[192.0.2.20]\n"))
        machine.write("/etc/closedmail/closedmail.toml", CONFIG.replace("SIGNER", signer.fingerprint))
        files = postfix_files(machine)
        machine.run("closedmail", "setup", "--yes")
        machine.systemctl("start", "closedmail-sync")
        yield Evening(machine, sink, signer.fingerprint, files)


def test_the_main_job(evening: Evening) -> None:
    evening.check()


def test_doctor_is_silent(evening: Evening) -> None:
    assert len(CONFIG.splitlines()) == 10
    assert evening.found() == set()


# What somebody who has taken a daemon over tries, at each path; it names what succeeds.
TRY = """
import os, subprocess, sys
def attempt(what, path):
    try:
        what(path)
    except OSError:
        return
    print(what.__name__, path)
def read(path): open(path).close()
def change(path): open(path, "r+").close()
def make(path): open(path + "/made", "x").close(); os.unlink(path + "/made")
def move(path): os.rename(path, path + ".moved")
def run(path):
    program = path + "/program"
    with open(program, "x") as file: file.write("#!/bin/sh\\n")
    os.chmod(program, 0o755)
    try: subprocess.run([program], check=True)
    finally: os.unlink(program)
state, counters = "/var/lib/closedmail", "/var/lib/closedmail/counters"
attempt(read, "/etc/closedmail/closedmail.toml")
attempt(read, "/etc/closedmail/private/client.key")
for name in ("postfix/transport", "postfix/transport.db", "store/data.mdb", "sync.json"):
    attempt(read, f"{state}/{name}")
    attempt(change, f"{state}/{name}")
for name in ("postfix", "store", "lists"):
    attempt(make, f"{state}/{name}")
    attempt(move, f"{state}/{name}")
for path in (state, "/etc/closedmail", "/run", "/dev/shm", "/var/spool/postfix", counters):
    attempt(make, path)
for path in (counters, "/run/closedmail", "/tmp", "/var/tmp", "/dev/shm"):
    attempt(run, path)
"""
MAY = [
    "read /etc/closedmail/closedmail.toml",
    *(f"read /var/lib/closedmail/{name}" for name in ("postfix/transport", "postfix/transport.db")),
    *(f"read /var/lib/closedmail/{name}" for name in ("store/data.mdb", "sync.json")),
    *("make /dev/shm", "make /var/lib/closedmail/counters"),
]


@pytest.mark.parametrize("unit", ["closedmail-policyd.service", "closedmail-milter.service"])
def test_a_daemon_can_write_its_counters_and_nothing_else(evening: Evening, unit: str) -> None:
    machine = evening.machine
    key = "/etc/closedmail/private/client.key"
    machine.write(key, "secret")
    machine.run("chown", "root:closedmail", key)
    machine.run("chmod", "0640", key)
    machine.systemctl("restart", unit)
    assert machine.inside(unit, TRY).splitlines() == MAY
    if "milter" in unit:  # test_systemd.py has mail for it
        machine.systemctl("stop", unit)
        return
    assert machine.send(PARTNER, WRONG, [OWN]).code == 554
    counted = machine.root / "var/lib/closedmail/counters/policyd.json"
    machine.systemctl("reload", unit)
    until(lambda: counted.exists() and b"koeln.example" in counted.read_bytes(), "nothing was counted")


def test_no_header_switches_tls_off(evening: Evening) -> None:
    """RFC 8689: from Postfix 3.10 on, `TLS-Required: no` in a mail makes smtp(8) ignore its TLS policy."""
    machine = evening.machine
    text = CONFIG.replace("SIGNER", evening.signer) + (
        '[partner."bare.example"]\nnetwork = "ndb"\noutbound.smarthost = ["[127.0.0.21]:2525"]\n'
        'route = "esmtp:[192.0.2.20]"\n'
    )
    machine.write("/etc/closedmail/closedmail.toml", text)
    with machine.call(partial(Sink, "127.0.0.21", 2525)) as bare:
        machine.systemctl("start", "closedmail-sync")
        header = {"TLS_Required": "no"}
        assert machine.send("mayor@city.example", "127.0.0.1", ["u@bare.example"], **header).accepted

        def waits() -> bool:
            machine.run("postqueue", "-f")  # Postfix sees a new route after some seconds
            return "TLS is required" in machine.run("postqueue", "-p").stdout

        until(waits, "it does not wait for TLS")
        assert bare.mails == []
    machine.run("postsuper", "-d", "ALL")
    machine.write("/etc/closedmail/closedmail.toml", CONFIG.replace("SIGNER", evening.signer))
    machine.systemctl("start", "closedmail-sync")


def test_undo_leaves_postfix_as_it_was(evening: Evening) -> None:
    machine = evening.machine
    machine.run("closedmail", "setup", "--undo")
    assert postfix_files(machine) == evening.files
    # An smtpd of before the reload may take one more client.
    until(lambda: machine.send(PARTNER, WRONG, [OWN]).accepted, "still refused")
    assert {"sender-restrictions", "data-restrictions", "transport-maps", "transport-missing"} <= evening.found()
    machine.run("closedmail", "setup", "--yes")


# What somebody does, and what doctor makes of it; test_doctor.py has more of the configuration.
FAULTS = {
    "systemctl disable --now closedmail-sync.timer": {"timer"},
    "systemctl disable --now closedmail-policyd.socket closedmail-policyd.service": {"policyd"},
    "postconf -X smtpd_sender_restrictions transport_maps": {"sender-restrictions", "transport-maps"},
    "postconf -MX closedmail-ndb/unix": {"transport-missing"},
    "postconf -P smtp/unix/smtp_helo_name=mail.city.example": {"network-service"},
    "postconf -e smtpd_data_restrictions=reject_unauth_pipelining": {"data-restrictions"},
    "chmod 700 /var/lib/closedmail": {"map-access"},
    "rm /var/lib/closedmail/postfix/transport.db": {"map-missing"},
    "rm -r /var/lib/closedmail/store": {"no-generation", "policyd"},
}


def test_setup_mends_what_doctor_finds(evening: Evening) -> None:
    machine = evening.machine
    for fault, ids in FAULTS.items():
        machine.run(*fault.split())
        assert evening.found() == ids, fault
        machine.run("closedmail", "setup", "--yes")
        assert evening.found() == set(), fault
    evening.check()
