"""`postfix-native` on a running Postfix: the verdicts of the decision that the daemon makes, without the daemon."""

import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.daemon import closedmail_inside
from support.gateway import Gateway
from support.private_postfix import PrivatePostfix
from support.real import require

from closedmail.demo.demo_certificates import Authority, CertificateFiles, self_signed
from closedmail.demo.postfix_configuration import SmtpdListener
from closedmail.demo.smtp_client import SmtpReply, deliver
from closedmail.explain.explain import explain_inbound
from closedmail.inbound.facts import ClientCertificate, Envelope
from closedmail.store.snapshot import StoreReader

pytestmark = pytest.mark.real("root", "postfix", "postfix-lmdb", "openssl")

RIGHT, WRONG, TRUSTED, HOST = "192.0.2.1", "198.18.0.9", "203.0.113.7", "198.51.100.20"
LIST = (
    "koeln.example\tesmtp:[198.51.100.20]",
    "bonn.example\tesmtp:[198.51.100.21]:[IPv6:2001:db8:5::25]",
    ".land.example\tesmtp:[198.51.100.22]",
    "y.land.example\tesmtp:[198.51.100.23]",
    ".deep.y.land.example\tesmtp:[198.51.100.24]",
    "xn--kln-sna.example\tesmtp:[198.51.100.25]",
    "gone.example\terror:5.1.2:550 moved away",
)
SENDERS = (
    *("koeln.example", "sub.koeln.example", "KOELN.Example", "bonn.example", "land.example", "a.land.example"),
    *("a.b.land.example", "y.land.example", "a.y.land.example", "deep.y.land.example", "a.deep.y.land.example"),
    *("xn--kln-sna.example", "gone.example", "kim.example", "a.kim.example", "city.example", "a.city.example"),
    *("own.land.example", "a.own.land.example", "partner.city.example", "a.partner.city.example", "example"),
    *("report.example", "defer.example", "off.example", "wide.example", "a.b.wide.example", "hosts.example"),
    *("off.land.example", "a.off.land.example", "stranger.example", "notkoeln.example", "quiet.example"),
)
CLIENTS = (RIGHT, WRONG, TRUSTED, HOST, "2001:db8::1", "2001:db8:5::25", "198.51.100.7")
CODES = {"accept": 250, "none": 250, "report": 250, "reject": 554, "defer": 450}


@dataclass
class Door:
    """A Postfix with the export, and the gateway whose rules it has. The second listener lacks smtpd_access_maps in
    parent_domain_matches_subdomains."""

    gateway: Gateway
    postfix: PrivatePostfix
    clients: Mapping[str, CertificateFiles]

    def send(self, sender: str, client: str, listener: int = 0, **more: object) -> SmtpReply:
        at = self.postfix.listeners[listener]
        recipients = more.pop("rcpt", ["office@city.example"])
        return deliver(
            at.address,
            at.port,
            sender=sender,
            recipients=recipients,  # type: ignore[arg-type]
            xclient={"ADDR": client, "NAME": "[UNAVAILABLE]"},
            **more,  # type: ignore[arg-type]
        )


def reload(door: Door, expected: int) -> None:
    """Reload, and wait until no smtpd is left that knows the classes of before (it answers 451, or as before)."""
    door.postfix.reload()
    deadline, agreed = time.monotonic() + 10, 0
    while agreed < 3:
        agreed = agreed + 1 if door.send("u@koeln.example", WRONG).code == expected else 0
        assert time.monotonic() < deadline


def apply_export(gateway: Gateway, postfix: PrivatePostfix, place: Path) -> None:
    """As the head of the export says."""
    said = closedmail_inside("export", "postfix-native", "--output", str(place), config=gateway.config)
    assert said.status == 0, said.stderr
    head = (place / "main.cf").read_text()
    assert f"postmap {place}/senders" in head
    postfix.postmap(str(place / "senders"))
    command = f"grep -v '^#' {place}/main.cf | xargs -d '\\n' postconf -c {postfix.etc} -e"
    assert command.replace(f" -c {postfix.etc}", "") in head
    subprocess.run(["bash", "-c", f"PATH=/usr/sbin:$PATH; {command}"], check=True)  # noqa: S607  Debian's


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    require("root", "postfix", "postfix-lmdb", "openssl")
    certificates = tmp_path_factory.mktemp("certificates")
    server = Authority(certificates / "ca").issue("gateway.city.example")
    clients = {name: self_signed(certificates / name, "mx.print.example") for name in ("print", "pubkey", "other")}
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="closedmail-"))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        gateway = Gateway(folder / "gateway")
        gateway.folder.mkdir()
        gateway.write_list(LIST)
        allowed = f'inbound.allow_from = ["{RIGHT}"]'
        pins = f"""[{{fingerprint = "{clients["print"].fingerprint}"}},
                    {{pubkey_fingerprint = "{clients["pubkey"].pubkey_fingerprint}"}}]"""
        gateway.configure(
            network='signature = "none"\nsource = "{list}"\nclosed_domains = ["kim.example"]',
            partners=f"""
                [partner."report.example"]
                network = "ndb"
                inbound.mode = "report"
                [partner."defer.example"]
                network = "ndb"
                inbound.mode = "defer"
                [partner."off.example"]
                network = "ndb"
                inbound.mode = "off"
                [partner."off.land.example"]
                network = "ndb"
                inbound.mode = "off"
                [partner."wide.example"]
                network = "ndb"
                inbound.subdomains = true
                {allowed}
                [partner."hosts.example"]
                network = "ndb"
                route = "esmtp:[{HOST}]"
                inbound.allow_route_hosts = true
                [partner."partner.city.example"]
                network = "ndb"
                [partner."quiet.example"]
                network = "ndb"
                inbound.reject_text = 'DUNNO {{domain}} "$x" OK {{{{}}}} \\ # {{network}}'
                [partner."cert.example"]
                network = "ndb"
                inbound = {{require = "cert", certificates = {pins}}}
                [partner."either.example"]
                network = "ndb"
                inbound = {{require = "ip or cert", certificates = {pins}}}
                [partner."both.example"]
                network = "ndb"
                inbound = {{require = "ip and cert", certificates = {pins}}}
                [partner."tls.example"]
                network = "ndb"
                inbound.require_tls = true
                [partner."named.example"]
                network = "ndb"
                inbound = {{require = "cert", certificates = [{{subject = "mx.print.example"}}]}}
            """,
        )
        gateway.sync()
        check = "check_sender_access $closedmail_senders"
        postfix = PrivatePostfix(
            folder / "postfix",
            {
                "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
                "smtpd_restriction_classes": "$closedmail_classes",
                "smtpd_sender_restrictions": check,
                "smtpd_data_restrictions": check,
                "smtpd_tls_security_level": "may",
                "smtpd_tls_cert_file": str(server.certificate),
                "smtpd_tls_key_file": str(server.key),
                "smtpd_tls_ask_ccert": "yes",
                "smtpd_tls_fingerprint_digest": "sha256",
                "default_database_type": "lmdb",
            },
            listeners=(SmtpdListener(), SmtpdListener(options={"parent_domain_matches_subdomains": "debug_peer_list"})),
        )
        stack.enter_context(postfix)
        apply_export(gateway, postfix, folder / "native")
        door = Door(gateway, postfix, clients)
        reload(door, 554)
        yield door
        print(postfix.log()[-3000:])


def verdict(door: Door, sender: str, client: str, **more: object) -> int:
    """The code that the daemon's decision comes to."""
    with StoreReader(door.gateway.store) as store:
        found = explain_inbound(store.current(), Envelope(sender, client, **more))  # type: ignore[arg-type]
    return CODES[found.verdict.outcome]


@pytest.mark.parametrize("listener", [0, 1], ids=["parents match", "dotted parents"])
def test_the_same_verdicts_on_addresses(door: Door, listener: int) -> None:
    told, expected = {}, {}
    with StoreReader(door.gateway.store) as store:
        for domain, client in itertools.product(SENDERS, CLIENTS):
            found = explain_inbound(store.current(), Envelope(f"u@{domain}", client))
            expected[domain, client] = CODES[found.verdict.outcome]
    for domain, client in expected:
        told[domain, client] = door.send(f"u@{domain}", client, listener).code
    assert told == expected
    assert set(expected.values()) == {250, 450, 554}


@pytest.mark.parametrize(
    "sender",
    [
        *("", "u", "u%koeln.example", "koeln.example!u", "u@koeln.example.", '"a@b"@koeln.example'),
        *('"u@koeln.example"@x.example', "u@[192.0.2.1]", "postmaster", "@koeln.example"),
    ],
)
def test_spellings_that_postfix_resolves_itself(door: Door, sender: str) -> None:
    asked = sender.replace('"a@b"', "a@b").replace('"u@koeln.example"', "u@koeln.example")
    assert door.send(sender, WRONG).code == verdict(door, asked, WRONG)


def test_a_sender_with_umlauts(door: Door) -> None:
    for sender in ("u@köln.example", "u@KÖLN.example"):
        assert door.send(sender, WRONG, smtputf8=True).code == 554
        assert door.send(sender, RIGHT, smtputf8=True).code == 250


@pytest.mark.parametrize("client", [RIGHT, WRONG])
def test_the_door_of_postmaster(door: Door, client: str) -> None:
    """Restrictions at RCPT are skipped for it, those at DATA are not."""
    found = door.send("u@koeln.example", client, rcpt=["postmaster"])
    assert (found.stage, found.code) == (("message", 250) if client == RIGHT else ("data", 554))


def test_the_words(door: Door) -> None:
    said = door.send("u@koeln.example", WRONG)
    assert said.stage == "rcpt"
    assert said.text.endswith(
        "5.7.1 <unknown[198.18.0.9]>: Client host rejected: Mail from this domain is accepted through ndb only: the "
        "client's address is not authorised for it"
    )
    said = door.send("u@quiet.example", WRONG)
    assert (said.code, said.text.partition("rejected: ")[2]) == (554, 'DUNNO this domain "$x" OK {} \\ # ndb')
    assert door.send("u@report.example", WRONG).accepted
    door.postfix.wait_for_log(r"warn: RCPT from .*Mail from this domain .*from=<u@report\.example>")


@pytest.mark.parametrize("partner", ["cert", "either", "both"])
@pytest.mark.parametrize("shown", ["print", "pubkey", "other", ""])
@pytest.mark.parametrize("client", [RIGHT, WRONG, TRUSTED])
def test_fingerprints(door: Door, partner: str, shown: str, client: str) -> None:
    certificate = door.clients.get(shown)
    envelope: dict[str, object] = {"encrypted": True}
    more: dict[str, Any] = {"tls": True}
    if certificate:
        prints = (text.replace(":", "").lower() for text in (certificate.fingerprint, certificate.pubkey_fingerprint))
        envelope["certificate"] = ClientCertificate("", "", *prints)
        more["certificate"] = (certificate.certificate, certificate.key)
    sender = f"u@{partner}.example"
    assert door.send(sender, client, **more).code == verdict(door, sender, client, **envelope)


@pytest.mark.parametrize("client", [RIGHT, WRONG, TRUSTED])
@pytest.mark.parametrize("tls", [True, False])
def test_tls(door: Door, client: str, tls: bool) -> None:
    """Without it the mail waits, where the daemon refuses it: which is said."""
    found = door.send("u@tls.example", client, tls=tls).code
    expected = verdict(door, "u@tls.example", client, encrypted=tls)
    assert found == (450 if client == RIGHT and not tls else expected)


def test_what_is_lost_lets_nobody_wait(door: Door) -> None:
    """A rule of names alone can't be checked: it warns, and the head of the export says so."""
    assert verdict(door, "u@named.example", WRONG) == 554
    assert door.send("u@named.example", WRONG).accepted
    head = (door.gateway.folder.parent / "native" / "main.cf").read_text()
    assert '[partner."named.example"]: certificates by subject, issuer or several parts: it is only warned' in head
    assert '[partner."tls.example"]: without TLS plaintext_reject_code is answered (450)' in head


def test_applying_again_changes_nothing_and_new_rules_come_in(door: Door) -> None:
    place = door.gateway.folder.parent / "native"
    before = (door.postfix.etc / "main.cf").read_text()
    apply_export(door.gateway, door.postfix, place)
    assert (door.postfix.etc / "main.cf").read_text() == before
    names = {path.name for path in place.glob("*.cidr")}
    text = door.gateway.config.read_text()
    door.gateway.config.write_text(
        text.replace('allow_from = ["192.0.2.1", "2001:db8::/32"]', f'allow_from = ["{WRONG}"]')
    )
    door.gateway.sync()
    apply_export(door.gateway, door.postfix, place)
    reload(door, 250)
    assert door.send("u@koeln.example", RIGHT).code == 554
    assert names < {path.name for path in place.glob("*.cidr")}  # the old ones stay for a Postfix that was not reloaded
    door.gateway.config.write_text(text)
    door.gateway.sync()
    apply_export(door.gateway, door.postfix, place)
    reload(door, 554)


def test_too_many_sets_of_hosts(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.write_list(f"d{n}.example esmtp:[198.51.{n // 250}.{n % 250 + 1}]" for n in range(1001))
    gateway.configure(inbound='mode = "enforce"\nallow_route_hosts = true\nallow_from = ["192.0.2.1"]')
    gateway.sync()
    said = closedmail_inside("export", "postfix-native", "--output", str(tmp_path / "native"), config=gateway.config)
    assert (said.status, said.error.startswith("more than 1000 different sets of addresses")) == (1, True)
