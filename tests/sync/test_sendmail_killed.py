"""Switches of Sendmail's maps that are killed before and after each of their steps.

A Sendmail process that has both maps open looks on: at no instant has it a route without its TLS demand. The next run
completes what was interrupted.
"""

import signal
from collections.abc import Iterator
from itertools import count

import pytest
from support.machines.sendmail import Observer, Sendmail, makemap
from support.machines.sendmail_gateway import CONFIG, MAPS, MC, SendmailGateway
from support.machines.tree import IN_TREE, NEEDS, Machine

pytestmark = pytest.mark.real(*NEEDS)

DYING = f"{IN_TREE}/tests/support/killed_runs/dying.py"
ENCRYPT, LIFTED = "ENCR:128", "OK"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


def assert_covered(observer: Observer, names: list[str]) -> list[str]:
    """Ask as a delivery does, the route first; gives the names that have one."""
    routed = [name for name in names if observer.lookup("mailertable", name)]
    for name in routed:
        assert observer.lookup("access", f"TLS_Rcpt:{name}") == ENCRYPT, name
    return routed


def test_a_switch_that_is_killed_at_any_step(machine: Machine) -> None:
    gateway = SendmailGateway(machine)
    gateway.configure(network='on_removed = "release"')
    gateway.put("d0.example esmtp:[192.0.2.1]")
    gateway.sync()
    files = machine.run("ls", "-A", MAPS).stdout
    with Sendmail(machine, MC) as sendmail, Observer(sendmail) as observer:
        assert assert_covered(observer, ["d0.example"]) == ["d0.example"]
        for step in count(1):
            old, new = f"d{step - 1}.example", f"d{step}.example"
            gateway.put(f"{new} esmtp:[192.0.2.1]")
            done = machine.run(*machine.python(DYING, str(step), CONFIG, "sync"), check=False)
            assert assert_covered(observer, [old, new]) in ([old], [new])
            with Observer(sendmail) as fresh:
                assert assert_covered(fresh, [old, new]) in ([old], [new])
            assert gateway.sync()["generation"] == step + 1
            assert assert_covered(observer, [old, new]) == [new]
            assert list(gateway.rows("mailertable")) == [new]
            assert machine.run("ls", "-A", MAPS).stdout == files
            if done.returncode == 0:
                break
            # A shell between us and it gives a signal as 128 + its number.
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done
        assert step > 20


def test_loosened_and_removed_demands_outlive_their_routes(machine: Machine) -> None:
    """What a process sees that has the old routes open: the demand stays as it was."""
    gateway = SendmailGateway(machine)
    gateway.configure(network='on_removed = "release"')
    gateway.put("a.example esmtp:[192.0.2.1]", "b.example esmtp:[192.0.2.1]")
    gateway.sync()
    with Sendmail(machine, MC) as sendmail, Observer(sendmail) as observer:
        assert len(assert_covered(observer, ["a.example", "b.example"])) == 2
        gateway.configure(network='on_removed = "release"', tls="may")
        gateway.put("b.example esmtp:[192.0.2.1]")
        gateway.sync()
        assert assert_covered(observer, ["a.example", "b.example"]) == ["b.example"]
        assert observer.lookup("access", "TLS_Rcpt:a.example") == ENCRYPT


def test_it_would_show(machine: Machine) -> None:
    """A map that is renamed into place, and nothing else, is not seen by a process that has the old one open."""
    gateway = SendmailGateway(machine)
    gateway.put("a.example esmtp:[192.0.2.1]")
    gateway.sync()
    with Sendmail(machine, MC) as sendmail, Observer(sendmail) as observer:
        assert observer.lookup("mailertable", "a.example")
        makemap(machine, "/tmp/mailertable", ["b.example esmtp:[192.0.2.1]"])
        machine.run("mv", "/tmp/mailertable.db", f"{MAPS}/mailertable.db")
        assert observer.lookup("mailertable", "a.example")
        assert sendmail.lookup("mailertable", "a.example") is None
