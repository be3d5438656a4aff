"""postfix-examples/sendmail as its README says, on a machine with Sendmail."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.dns_servers import static_server
from support.machines.sendmail import HEAD, Sendmail
from support.machines.sendmail_gateway import CONFIG, MAPS
from support.machines.tree import CHECKOUT, NEEDS, Machine
from support.sink import Sink

from closedmail.demo.demo_certificates import Authority

pytestmark = pytest.mark.real(*NEEDS, "openssl")

EXAMPLE = CHECKOUT / "postfix-examples" / "sendmail"
LIST = "koeln.example esmtp:[198.18.0.11]\nbonn.example esmtp:[198.18.0.12]\n"
# No DNS on the machine, and what else a test needs that a gateway doesn't.
BENCH = "\n".join(
    line for line in HEAD.splitlines() if re.search(r"SWITCH|LOG_LEVEL|TO_|QUEUE_AGE|PROBE|HOST_STATUS", line)
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    certificate = authority.issue("gateway.city.example")
    with Machine() as machine:
        machine.write("/etc/mail/tls/closed-ca.pem", authority.ca_file.read_bytes())
        machine.write("/etc/mail/tls/gateway.pem", certificate.certificate.read_bytes())
        machine.write("/etc/mail/tls/gateway.key", certificate.key.read_bytes(), 0o600)
        config = (EXAMPLE / "closedmail.toml").read_text()
        config = re.sub(
            r"source = .*\nkey_file = .*\nsigning_keys = .*", 'source = "/list"\nsignature = "none"', config
        )
        machine.write(CONFIG, config)
        machine.write("/list", LIST)
        machine.copy([EXAMPLE / "mailertable.own", EXAMPLE / "access.own"], "/etc/mail")
        for command in commands("adduser|install|chown"):
            machine.run("sh", "-ec", command)
        machine.closedmail(CONFIG, "sync")
        yield machine


def commands(words: str) -> list[str]:
    """The README's commands that begin so."""
    found = re.findall(rf"^    ((?:{words}) .*)$", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    assert found
    return found


def test_it_is_made_without_a_warning(machine: Machine) -> None:
    machine.copy([EXAMPLE / "gateway.mc"], "/etc/mail")
    (make,) = commands("m4")
    done = machine.run("sh", "-ec", f"cd /etc/mail && {make}")
    assert (done.stdout, done.stderr) == ("", "")
    asked = machine.run("sendmail", "-bt", "-C/etc/mail/sendmail.cf", stdin="3,0 u@koeln.example\n")
    assert "esmtp $@ [ 198 . 18 . 0 . 11 ]" in asked.stdout
    assert asked.stderr == ""


def test_mail_waits_while_the_milter_does_not_answer(machine: Machine) -> None:
    mc = (EXAMPLE / "gateway.mc").read_text().replace("MAILER(`local')", f"{BENCH}\nMAILER(`local')")
    with Sendmail(machine, mc, name="milter") as sendmail:
        reply = sendmail.deliver("a@koeln.example", "u@city.example")
        assert (reply.code, reply.text[:5]) == (451, "4.3.2"), reply


@pytest.mark.real("unbound", "dig")
def test_the_public_dns_redirects_nothing(machine: Machine, tmp_path: Path) -> None:
    """A CNAME for a partner's domain: its mail goes by the mailertable. Without the example's line it does not."""
    example = (EXAMPLE / "gateway.mc").read_text().replace("MAILER(`local')", f"{BENCH}\nMAILER(`local')")
    example = re.sub(r"^INPUT_MAIL_FILTER.*$", "", example, flags=re.MULTILINE)
    example = example.replace("Port=smtp", "Port=smtp, Addr=127.0.0.1")
    public = ["koeln.example. 60 IN CNAME elsewhere.example.", "elsewhere.example. 60 IN A 198.18.0.66"]
    server = static_server(tmp_path / "dns", public, port=53)
    machine.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
    machine.call(server.__enter__)
    try:
        without = Sendmail(machine, example.replace("FEATURE(`nocanonify')", ""), name="canonify")
        gateway = Sendmail(machine, example, name="dns")
        machine.write("/etc/mail/service.switch", "hosts dns files\naliases files\npasswd files\n")
        assert without.route("u@koeln.example").startswith("$#esmtp$@elsewhere.example.$:")
        pair = Authority(tmp_path).issue("mx.koeln.example").pair
        with (
            gateway,
            machine.call(partial(Sink, "198.18.0.11", 25, certificate=pair)) as koeln,
            machine.call(partial(Sink, "198.18.0.66", 25, certificate=pair)) as internet,
        ):
            assert gateway.deliver("a@city.example", "u@koeln.example").accepted
            gateway.log.wait_for(r"to=<u@koeln\.example>.*stat=Sent")
            assert [mail.recipients for mail in koeln.mails] == [("u@koeln.example",)]
            assert internet.mails == []
    finally:
        machine.call(partial(server.__exit__, None, None, None))
        machine.write("/etc/resolv.conf", "")


@pytest.fixture(scope="module")
def sendmail(machine: Machine) -> Iterator[Sendmail]:
    """The example without its milter, which has tests of its own."""
    mc = (EXAMPLE / "gateway.mc").read_text().replace("MAILER(`local')", f"{BENCH}\nMAILER(`local')")
    mc = re.sub(r"^INPUT_MAIL_FILTER.*$", "", mc, flags=re.MULTILINE)
    mc = mc.replace("Port=smtp", "Port=smtp, Addr=127.0.0.1")  # partners' servers have the other addresses
    with Sendmail(machine, mc, name="routing") as sendmail:
        yield sendmail


def test_it_routes_in_and_out(sendmail: Sendmail, tmp_path: Path) -> None:
    assert sendmail.route("u@city.example").startswith("$#relay$@[10.1.1.25]$:")
    assert sendmail.route("u@post.city.example").startswith("$#relay$@[10.1.1.25]$:")
    assert sendmail.route("u@klinik.example").startswith("$#esmtp$@[192.0.2.20]$:")
    assert sendmail.route("u@a.intern.ndb.example").startswith("$#error$@5.4.4$:")
    assert sendmail.lookup("access", "TLS_Rcpt:klinik.example") == "VERIFY:128+CN:mx.klinik.example"
    assert sendmail.deliver("a@koeln.example", "u@city.example", source="127.0.0.66").accepted
    refused = sendmail.deliver("a@koeln.example", "u@bonn.example", source="127.0.0.66")
    assert (refused.stage, refused.code) == ("rcpt", 550)
    pair = Authority(tmp_path).issue("mx.koeln.example").pair
    with (
        sendmail.machine.call(partial(Sink, "198.18.0.11", 25, certificate=pair)) as koeln,
        sendmail.machine.call(partial(Sink, "198.18.0.12", 25)) as bonn,
    ):
        for name in ("koeln", "bonn"):
            assert sendmail.deliver("a@city.example", f"u@{name}.example").accepted
            sendmail.log.wait_for(rf"to=<u@{name}\.example>.*stat={'Sent' if name == 'koeln' else 'Deferred'}")
        assert [mail.tls[:3] for mail in koeln.mails] == ["TLS"]
        assert bonn.mails == []


def test_the_maps_are_there_for_whoever_asks(machine: Machine) -> None:
    listing = machine.run("stat", "-c", "%U %a", MAPS, f"{MAPS}/mailertable.db").stdout.split()
    assert listing == ["smmta", "755", "smmta", "644"]
