"""Sendmail's maps as `closedmail sync` makes them, on a machine with Sendmail that routes and delivers by them."""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.machines.sendmail import Sendmail
from support.machines.sendmail_gateway import CONFIG, MAPS, MC, STATE, SendmailGateway
from support.machines.tree import NEEDS, Machine
from support.sink import Sink

from closedmail.demo.demo_certificates import Authority, CertificateFiles

pytestmark = pytest.mark.real(*NEEDS, "openssl")

HOST = "198.18.0.20"  # see machines/tree.py
FILES = ["access", "access.db", "mailertable", "mailertable.db"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def machine(authority: Authority) -> Iterator[Machine]:
    with Machine() as machine:
        machine.write("/etc/mail/tls/ca.pem", authority.ca_file.read_bytes())
        yield machine


@pytest.fixture
def gateway(machine: Machine) -> SendmailGateway:
    return SendmailGateway(machine)


@pytest.fixture(scope="module")
def sendmail(machine: Machine) -> Iterator[Sendmail]:
    gateway = SendmailGateway(machine)
    gateway.put("koeln.example esmtp:[192.0.2.1]")
    gateway.sync()
    with Sendmail(machine, MC) as sendmail:
        yield sendmail


def test_routes(gateway: SendmailGateway, sendmail: Sendmail) -> None:
    gateway.configure(network='closed_domains = ["kim.example"]')
    gateway.put(
        "koeln.example esmtp:[192.0.2.1]",
        "BONN.example smtp:mx.bonn.example",
        ".bonn.example relay:[192.0.2.2]:[2001:db8::2],[192.0.2.3]",
        "müller.example esmtp:[192.0.2.4]",
        'refused.example error:5.1.2:550 gone (for good), <see> %1 "$h" ä',
        "later.example error:4.7.0:450 later",
        "held.example esntp:[192.0.2.5]",
        ".land.example esmtp:[192.0.2.9]",
        "prog.example local:root",
    )
    report = gateway.sync()["networks"]["ndb"]
    assert report["held"] == ["held.example"]
    closed = '$#error$@5.4.4$:"550thisdomainisreachedinsideofitsclosednetworkonly,andnoroutetoitisknown"'
    wanted = {
        "koeln": "$#esmtp$@[192.0.2.1]$:u<@koeln.example.>",
        "bonn": "$#smtp$@mx.bonn.example$:u<@bonn.example.>",
        "a.bonn": "$#relay$@[192.0.2.2]:[IPv6:2001:db8::2],[192.0.2.3]$:u<@a.bonn.example.>",
        "xn--mller-kva": "$#esmtp$@[192.0.2.4]$:u<@xn--mller-kva.example.>",
        "refused": '$#error$@5.1.2$:"550gone(forgood),see1h?"',
        "later": '$#error$@4.7.0$:"450later"',
        "held": '$#error$@4.3.2$:"450mailforthisdomainisheld:itslineintheclosednetwork\'slistisnotunderstood"',
        "kim": closed,
        "deep.kim": closed,
        "a.land": "$#esmtp$@[192.0.2.9]$:u<@a.land.example.>",
        "prog": "$#esmtp$@prog.example.$:u<@prog.example.>",
    }
    found = {name: sendmail.route(f"u@{name}.example") for name in wanted}
    assert found == wanted
    assert sendmail.lookup("mailertable", "müller.example") == "esmtp:[192.0.2.4]"
    assert "mailer esmtp, host [192.0.2.1]" in sendmail.verify("u@koeln.example")
    for name, (code, text) in {"held": (450, "4.3.2"), "kim": (550, "5.4.4"), "refused": (550, "5.1.2")}.items():
        reply = sendmail.deliver("a@city.example", f"u@{name}.example")
        assert (reply.stage, reply.code, reply.text[:5]) == ("rcpt", code, text)
    for name in wanted:
        row = gateway.rows("mailertable").get(f"{name}.example")
        explained = gateway.explain(
            f"u@{name}.example", status=0 if "esmtp$@[" in wanted[name] or "bonn" in name else 1
        )
        if row:
            assert explained["sendmail"]["mailertable"] == {f"{name}.example": row}
    assert gateway.explain("u@x.bonn.example")["sendmail"] == {
        "mailertable": {".bonn.example": "relay:[192.0.2.2]:[IPv6:2001:db8::2],[192.0.2.3]"},
        "access": {"TLS_Rcpt:bonn.example": "ENCR:128"},
    }


def test_smart_hosts(gateway: SendmailGateway, sendmail: Sendmail) -> None:
    gateway.configure(outbound='smarthost = ["[192.0.2.7]:25", "relay.example", "[2001:db8::7]"]\nport = 25')
    gateway.put("koeln.example esmtp:[192.0.2.1]")
    gateway.sync()
    assert sendmail.route("u@koeln.example").startswith("$#relay$@[192.0.2.7]:relay.example:[IPv6:2001:db8::7]$:")


@pytest.mark.parametrize(
    ("key", "how"),
    [
        ("network.ndb.outbound.port", {"outbound": "port = 2525"}),
        ("network.ndb.outbound.smarthost[1]", {"outbound": 'smarthost = ["a.example:25", "[192.0.2.1]:26"]'}),
        ("network.ndb.outbound.tls", {"tls": "dane"}),
        ("network.ndb.outbound.tls", {"tls": "fingerprint", "outbound": f'tls_match = ["{":".join(["AA"] * 32)}"]'}),
        ("network.ndb.outbound.tls_ciphers", {"outbound": 'tls_ciphers = "high"'}),
        ("network.ndb.outbound.tls_protocols", {"outbound": 'tls_protocols = ">=TLSv1.2"'}),
        ("network.ndb.outbound.tls_match", {"tls": "secure", "outbound": 'tls_match = ["a.example", "b.example"]'}),
        ("network.ndb.outbound.tls_match", {"tls": "secure", "outbound": 'tls_match = [".a.example"]'}),
        ("network.ndb.outbound.transport", {"outbound": 'transport = "ndb"'}),
        (
            'partner."x.example".outbound.port',
            {"more": '[partner."x.example"]\nnetwork = "ndb"\noutbound = {port = 26}'},
        ),
    ],
)
def test_what_sendmail_can_not_do_is_refused(gateway: SendmailGateway, key: str, how: dict[str, str]) -> None:
    gateway.put("koeln.example esmtp:[192.0.2.1]")
    gateway.sync()
    before = gateway.rows("mailertable")
    gateway.configure(**how)
    gateway.put("bonn.example esmtp:[192.0.2.1]")
    assert f"closedmail: error: {key}: " in gateway.sync(status=2)["stderr"]
    assert gateway.rows("mailertable") == before


# --- the administrator's own rows ----------------------------------------------------------------------------------


def test_local_rows_come_first_and_own_domains_are_shielded(gateway: SendmailGateway, sendmail: Sendmail) -> None:
    gateway.configure(gateway="own_domains_ = 1".replace("own_domains_ = 1", ""))
    gateway.put("koeln.example esmtp:[192.0.2.1]", ".land.example esmtp:[192.0.2.9]", "bonn.example esmtp:[192.0.2.2]")
    config = gateway.machine.root / CONFIG.lstrip("/")
    config.write_text(config.read_text().replace('["city.example"]', '["city.example", "own.land.example"]'))
    gateway.sync()
    assert sendmail.route("u@own.land.example") == "$#esmtp$@own.land.example.$:u<@own.land.example.>"
    assert sendmail.route("u@a.b.own.land.example") == "$#esmtp$@a.b.own.land.example.$:u<@a.b.own.land.example.>"
    assert sendmail.route("u@other.land.example").startswith("$#esmtp$@[192.0.2.9]$:")
    gateway.machine.write(
        "/etc/mail/mailertable.own",
        "# ours\nKoeln.example\tprocmail:/etc/x\n.example   smtp:[10.0.0.1]\nsub.own.land.example relay:[10.0.0.2]\n",
    )
    gateway.machine.write("/etc/mail/access.own", "Connect:127.0.0.1 RELAY\nTLS_Rcpt:Bonn.example\tVERIFY\n")
    report = gateway.sync()
    assert report["generation"] == 2
    assert report["networks"]["ndb"]["notes"] == [
        "sendmail.own_mailertable has a row of its own for koeln.example, which applies",
        "sendmail.own_access has a row of its own for TLS_Rcpt:bonn.example, which applies",
    ]
    rows = gateway.rows("mailertable")
    assert rows["koeln.example"] == "procmail:/etc/x"
    assert rows["own.land.example"] == rows[".own.land.example"] == "smtp:[10.0.0.1]"
    assert gateway.rows("access")["tls_rcpt:bonn.example"] == "VERIFY"
    for name in ("own.land", "b.own.land", "sub.own.land", "koeln", "bonn", "no.body", "x.land"):
        found = gateway.explain(f"u@{name}.example", status=1 if name == "no.body" or "own" in name else 0)["sendmail"]
        (value,) = found["mailertable"].values()
        mailer, _, host = value.partition(":")
        assert sendmail.route(f"u@{name}.example").startswith(f"$#{mailer}$@{host}$:")
    assert gateway.sync()["networks"]["ndb"]["result"] == "unchanged"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        ("a.example\n", "line 1 has no value"),
        ("ok.example x\n b.example y\n", "line 2 begins with white space"),
        ("a.example " + "x" * 1024, "line 1 is longer than 1023 bytes"),
    ],
)
def test_local_rows_that_can_not_be_read(gateway: SendmailGateway, text: str | None, reason: str) -> None:
    gateway.put("koeln.example esmtp:[192.0.2.1]")
    gateway.sync()
    before = gateway.rows("mailertable")
    if text is None:
        gateway.machine.run("rm", "/etc/mail/mailertable.own")
    else:
        gateway.machine.write("/etc/mail/mailertable.own", text)
    gateway.put("bonn.example esmtp:[192.0.2.1]")
    error = gateway.sync(status=2)["stderr"]
    assert "closedmail: error: sendmail.own_mailertable: /etc/mail/mailertable.own: " in error
    assert reason in error
    assert gateway.rows("mailertable") == before


# --- held, released, rolled back -----------------------------------------------------------------------------------


def test_a_store_that_is_lost(gateway: SendmailGateway) -> None:
    """The rows of the mailertable know the partners, but for the administrator's own."""
    gateway.machine.write("/etc/mail/mailertable.own", "tickets.example\tesmtp:[192.0.2.99]\n")
    gateway.put("koeln.example esmtp:[192.0.2.1]", "bonn.example esmtp:[192.0.2.2]")
    gateway.sync()
    gateway.machine.run("rm", "-r", f"{STATE}/store")
    gateway.put("bonn.example esmtp:[192.0.2.2]")
    assert gateway.sync()["networks"]["ndb"]["held"] == ["koeln.example"]
    rows = gateway.rows("mailertable")
    assert rows["koeln.example"].startswith('error:4.3.2:"450 mail for this domain is held')
    assert rows["tickets.example"] == "esmtp:[192.0.2.99]"


def test_queued_mail_waits_while_its_domain_is_held(gateway: SendmailGateway, sendmail: Sendmail) -> None:
    lines = [f"koeln.example esmtp:[{HOST}]", "bonn.example esmtp:[192.0.2.2]"]
    gateway.put(*lines)
    gateway.configure(tls="may")
    gateway.sync()
    assert sendmail.deliver("a@city.example", "queued@koeln.example").accepted
    sendmail.log.wait_for(r"to=<queued@koeln\.example>.*Connection refused")
    gateway.put(lines[1])
    assert gateway.sync()["networks"]["ndb"]["held"] == ["koeln.example"]
    with sendmail.machine.call(partial(Sink, HOST, 25)) as sink:
        assert "mail for this domain is held" in sendmail.flush()
        assert "queued@koeln.example" in sendmail.queued()
        assert sendmail.deliver("a@city.example", "u@koeln.example").code == 450
        assert sink.mails == []
        gateway.machine.closedmail(CONFIG, "release", "koeln.example")
        assert "koeln.example" not in gateway.rows("mailertable")
        gateway.machine.closedmail(CONFIG, "rollback", "1")
        assert gateway.rows("mailertable")["koeln.example"] == f"esmtp:[{HOST}]"
        sendmail.flush()
        (mail,) = sink.wait()
        assert mail.recipients == ("queued@koeln.example",)
    assert "empty" in sendmail.queued()


def test_maps_are_put_right_again(gateway: SendmailGateway) -> None:
    gateway.put("koeln.example esmtp:[192.0.2.1]")
    gateway.sync()
    for damage in (
        f"rm {MAPS}/access.db",
        f"echo x >>{MAPS}/mailertable",
        f"cp {MAPS}/access.db {MAPS}/mailertable.db",
    ):
        gateway.machine.run("sh", "-c", damage)
        assert gateway.sync()["generation"] == 1
        assert gateway.rows("mailertable") == {"koeln.example": "esmtp:[192.0.2.1]"}
        assert gateway.rows("access") == {"connect:127.0.0.1": "RELAY", "tls_rcpt:koeln.example": "ENCR:128"}
    listing = gateway.machine.run("stat", "-c", "%n %U %a", f"{MAPS}/access.db", f"{MAPS}/mailertable").stdout
    assert listing == f"{MAPS}/access.db smmta 644\n{MAPS}/mailertable smmta 644\n"
    assert gateway.machine.run("ls", "-A", MAPS).stdout.split() == FILES


def test_a_dry_run_changes_nothing(gateway: SendmailGateway) -> None:
    gateway.put("koeln.example esmtp:[192.0.2.1]")
    gateway.sync()
    before = gateway.machine.run("ls", "-lAi", "--time-style=full-iso", MAPS).stdout
    gateway.put("bonn.example esmtp:[192.0.2.1]")
    assert gateway.sync("--dry-run")["networks"]["ndb"]["added"] == ["bonn.example"]
    assert gateway.machine.run("ls", "-lAi", "--time-style=full-iso", MAPS).stdout == before


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("exit 65", "makemap: exit status 65"),
        ("echo makemap: line 3: bad >&2; exit 65", "makemap: line 3: bad"),
        ("exit 0", "made no file of map type 'hash'"),
        ('[ "$1" = -u ] || /usr/sbin/makemap "$@" </dev/null', r'"connect:127.0.0.1\tRELAY" is missing'),
        ('/usr/sbin/makemap "$@"; [ "$1" != -u ] || echo a', '"a" was never asked for'),
        ("kill -9 $$", "makemap: killed by signal 9"),
    ],
)
def test_what_makemap_does_wrong(gateway: SendmailGateway, program: str, reason: str) -> None:
    """Whatever it is, what was in force stays, and nothing is left."""
    gateway.put("bonn.example esmtp:[192.0.2.1]")
    gateway.sync()
    gateway.put("koeln.example esmtp:[192.0.2.1]")
    gateway.machine.write("/usr/local/sbin/makemap", f"#!/bin/sh\n{program}\n", 0o755)
    words = [f"PATH=/usr/local/sbin:{gateway.machine.environment['PATH']}"]
    words += gateway.machine.python("-m", "closedmail", "--config", CONFIG, "sync")
    done = gateway.machine.run(*words, check=False)
    gateway.machine.run("rm", "/usr/local/sbin/makemap")
    assert (done.returncode, "publish-failed" in done.stderr) == (1, True), done
    assert reason in done.stderr
    assert gateway.rows("mailertable") == {"bonn.example": "esmtp:[192.0.2.1]"}
    assert gateway.machine.run("ls", "-A", MAPS).stdout.split() == FILES
    gateway.sync()
    assert gateway.rows("mailertable").keys() == {"bonn.example", "koeln.example"}


def test_no_open_session_keeps_the_old_maps(gateway: SendmailGateway, sendmail: Sendmail) -> None:
    """A process that has both maps open sees the new ones at its next look-up, the TLS demand before the route."""
    gateway.put("koeln.example error:4.0.0:450 old")
    gateway.sync()
    with sendmail.session() as smtp:
        assert smtp.docmd("MAIL", "FROM:<a@city.example>")[0] == 250
        for number in range(3):
            assert smtp.docmd("RCPT", "TO:<u@koeln.example>")[1].endswith(b"old" if not number else b"new %d" % number)
            gateway.put(f"koeln.example error:4.0.0:450 new {number + 1}")
            gateway.sync()


# --- TLS demands ---------------------------------------------------------------------------------------------------

DEMANDS = """
[partner."secure.example"]
network = "ndb"
outbound = {tls = "secure", tls_match = ["MX.klinik.example"]}
[partner."single.example"]
network = "ndb"
outbound = {tls = "secure"}
[partner."verify.example"]
network = "ndb"
outbound = {tls = "verify"}
[partner."mx.example"]
network = "ndb"
outbound = {tls = "verify"}
[partner."literal.example"]
network = "ndb"
outbound = {tls = "verify"}
[partner."free.encrypt.example"]
network = "ndb"
outbound = {tls = "none"}
[partner."free.suffix.example"]
network = "ndb"
outbound = {tls = "may"}
"""


def test_tls_demands_are_kept(
    gateway: SendmailGateway, sendmail: Sendmail, authority: Authority, tmp_path: Path
) -> None:
    client = "client20.bench.example"
    gateway.machine.run("cp", sendmail.cf, "/etc/mail/sendmail.cf")  # which probe reads
    gateway.configure(more=DEMANDS)
    names = ["encrypt", "secure", "single", "verify", "mx", "free.encrypt", "free.suffix", "literal"]
    hosts = {"single": "[mx.klinik.example]", "verify": f"[{client}]", "mx": client}
    gateway.machine.run("sed", "-i", f"s/^127.0.0.20 /{HOST} /", "/etc/hosts")  # where the partners' server is
    gateway.machine.run("sh", "-c", f"grep -q mx.klinik /etc/hosts || echo '{HOST} mx.klinik.example' >>/etc/hosts")
    gateway.put(
        *(f"{name}.example esmtp:{hosts.get(name, f'[{HOST}]')}" for name in names), f".suffix.example esmtp:[{HOST}]"
    )
    report = gateway.sync()["networks"]["ndb"]
    assert report["held"] == ["literal.example"]
    assert report["notes"] == [
        "free.suffix.example: Sendmail asks for TLS encrypt there, as for what is below it",
        "held: tls 'verify' has no name to ask for on an address literal: set tls_match",
    ]
    access = {key.removeprefix("tls_rcpt:"): value for key, value in gateway.rows("access").items() if "tls" in key}
    assert access == {
        "encrypt.example": "ENCR:128",
        "secure.example": "VERIFY:128+CN:mx.klinik.example",
        "single.example": "VERIFY:128+CN:mx.klinik.example",
        "verify.example": f"VERIFY:128+CN:{client}",
        "mx.example": "VERIFY:128+CN",
        "free.encrypt.example": "OK",
        "suffix.example": "ENCR:128",
        "free.suffix.example": "ENCR:128",
    }
    good = authority.issue("mx.klinik.example")
    own = authority.issue(client)
    other = Authority(tmp_path, "Other CA").issue("mx.klinik.example")
    free = {"free.encrypt", "x.free.encrypt"}
    encrypted = {"encrypt", "a.encrypt", "a.suffix", "free.suffix", "x.free.suffix"}
    asked = sorted({*free, *encrypted, "secure", "single", "verify", "mx"} - {"a.encrypt", "x.free.encrypt"})
    expected: list[tuple[CertificateFiles | None, set[str]]] = [
        (None, free),
        (good, free | encrypted | {"secure", "single"}),
        (own, free | encrypted | {"verify", "mx"}),
        (other, free | encrypted),
    ]
    for number, (certificate, arriving) in enumerate(expected):
        pair = certificate.pair if certificate else None
        with sendmail.machine.call(partial(Sink, HOST, 25, certificate=pair)) as sink:
            for name in asked:
                assert sendmail.deliver("a@city.example", f"m{number}@{name}.example").accepted
            for name in asked:
                pattern = rf"to=<m{number}@{re.escape(name)}\.example>.*dsn=(\d\.\d\.\d).*stat=(\w+)"
                match = sendmail.log.wait_for(pattern)
                assert (match[2] == "Sent", match[1][0]) == (name in arriving, "2" if name in arriving else "4"), (
                    number,
                    name,
                )
            assert {mail.recipients[0] for mail in sink.mails} == {
                f"m{number}@{name}.example" for name in asked if name in arriving
            }
            # What probe says of the same hosts. The one with an MX look-up needs DNS, which is not to be had there.
            probed = [f"{name}.example" for name in asked if name != "mx"]
            done = gateway.machine.closedmail(CONFIG, "probe", *probed, "--json", check=False)
            results = json.loads(done.stdout)["hosts"]
            assert {(result["policy"], result["ok"]) for result in results} == {
                ("may", True),
                ("ENCR:128", "encrypt" in arriving),
                ("VERIFY:128+CN:mx.klinik.example", "secure" in arriving),
                (f"VERIFY:128+CN:{client}", "verify" in arriving),
            }
            assert done.returncode == 1  # no certificate has both names
            assert all(result["reachable"] for result in results)
    sendmail.machine.run("sh", "-c", "rm -f /var/spool/mqueue/*")


def test_one_mail_to_two_partners(gateway: SendmailGateway, sendmail: Sendmail) -> None:
    """On one connection to one host, each recipient has its own demand."""
    gateway.configure(more=DEMANDS)
    gateway.put(f"free.encrypt.example esmtp:[{HOST}]", f"encrypt.example esmtp:[{HOST}]")
    gateway.sync()
    with sendmail.machine.call(partial(Sink, HOST, 25)) as sink:
        assert sendmail.deliver("a@city.example", "two@encrypt.example", "two@free.encrypt.example").accepted
        sendmail.log.wait_for(r"to=<two@encrypt\.example>.*stat=Deferred")
        sendmail.log.wait_for(r"to=<two@free\.encrypt\.example>.*stat=Sent")
        assert [mail.recipients for mail in sink.mails] == [("two@free.encrypt.example",)]
        assert "encryption too weak 0 less than 128" in sendmail.flush()
        assert len(sink.mails) == 1
    sendmail.machine.run("sh", "-c", "rm -f /var/spool/mqueue/*")


def test_a_demand_outlives_its_route(gateway: SendmailGateway) -> None:
    """It goes a day later at the soonest: a delivery that has looked the route up may still ask for it."""
    gateway.configure(network='on_removed = "release"')
    gateway.put("koeln.example esmtp:[192.0.2.1]", "bonn.example esmtp:[192.0.2.1]")
    gateway.sync()
    gateway.put("bonn.example esmtp:[192.0.2.1]")
    gateway.sync()
    assert "koeln.example" not in gateway.rows("mailertable")
    assert gateway.rows("access")["tls_rcpt:koeln.example"] == "ENCR:128"
    gateway.configure(network='on_removed = "release"', tls="may")
    gateway.sync()
    assert gateway.rows("access")["tls_rcpt:bonn.example"] == "ENCR:128"
    assert gateway.explain("u@bonn.example")["sendmail"]["access"] == {"TLS_Rcpt:bonn.example": "ENCR:128"}
    later = "from closedmail.config import load; from closedmail.sync.run import sync; import time\n"
    later += "from pathlib import Path\n"
    later += f"print(sync(load(Path({CONFIG!r})), now=int(time.time()) + 2 * 86400).generation)"
    gateway.machine.run(*gateway.machine.python("-c", later))
    assert gateway.rows("access") == {"connect:127.0.0.1": "RELAY"}
