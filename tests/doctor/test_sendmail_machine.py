"""The test bench itself: a Debian tree with Sendmail in it, on a machine of its own."""

from collections.abc import Iterator
from functools import partial

import pytest
from support.machines.sendmail import HEAD, MAILERS, Sendmail, makemap
from support.machines.tree import NEEDS, Machine
from support.sink import Sink

pytestmark = pytest.mark.real(*NEEDS)

MC = (
    HEAD
    + "FEATURE(`mailertable', `hash -o /etc/mail/mailertable')\n"
    + "FEATURE(`access_db', `hash -T<TMPF> -o /etc/mail/access')\n"
    + MAILERS
)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@pytest.fixture(scope="module")
def sendmail(machine: Machine) -> Iterator[Sendmail]:
    done = makemap(machine, "/etc/mail/mailertable", ["koeln.example esmtp:[127.0.0.20]"])
    assert done.returncode == 0, done.stderr
    makemap(machine, "/etc/mail/access", ["Connect:127.0.0.1 RELAY"])
    with Sendmail(machine, MC) as sendmail:
        yield sendmail


def test_it_routes_and_delivers(sendmail: Sendmail) -> None:
    assert sendmail.lookup("mailertable", "koeln.example") == "esmtp:[127.0.0.20]"
    assert sendmail.lookup("mailertable", "bonn.example") is None
    assert sendmail.route("u@koeln.example") == "$#esmtp$@[127.0.0.20]$:u<@koeln.example.>"
    assert "mailer esmtp, host [127.0.0.20]" in sendmail.verify("u@koeln.example")
    with sendmail.machine.call(partial(Sink, "127.0.0.20", 25)) as sink:
        reply = sendmail.deliver("a@city.example", "u@koeln.example")
        assert reply.accepted, reply
        (mail,) = sink.wait()
    assert mail.recipients == ("u@koeln.example",)
    sendmail.log.wait_for(r"to=<u@koeln\.example>.*stat=Sent")
    assert "empty" in sendmail.queued()


def test_closedmail_runs_there(machine: Machine) -> None:
    machine.write("/etc/closedmail/list", "koeln.example esmtp:[192.0.2.1]\nnobody\n")
    machine.write("/etc/closedmail/closedmail.toml", '[gateway]\nown_domains = ["city.example"]\n')
    done = machine.closedmail("/etc/closedmail/closedmail.toml", "lint", "/etc/closedmail/list", check=False)
    assert (done.returncode, "2: the value is missing" in done.stdout) == (1, True), done


def test_addresses_of_clients_are_chosen(sendmail: Sendmail) -> None:
    assert sendmail.deliver("a@else.example", "root@city.example", source="127.0.0.66").accepted
    assert "Relaying denied" in sendmail.deliver("a@else.example", "b@else.example", source="127.0.0.66").text
    sendmail.log.wait_for(r"relay=.*\[127\.0\.0\.66\]")
