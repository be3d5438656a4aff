"""The policy daemon asked by a running Postfix: what the client at the other end of SMTP is told."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.gateway import Gateway
from support.real import require

from closedmail.demo.certificates import Authority, Certificate, self_signed
from closedmail.demo.postfix import Listener, PrivatePostfix
from closedmail.demo.smtp_client import Reply, deliver

pytestmark = pytest.mark.real("root", "postfix", "postfix-lmdb", "openssl")

SAMPLED = [f"p{number:02}.example" for number in range(50)]
RIGHT, WRONG = "192.0.2.1", "198.18.0.9"  # WRONG is no partner's


def address_of(partner: str) -> str:
    return f"198.51.100.{int(partner[1:3]) + 1}"


@dataclass
class Door:
    """A Postfix and the daemon that it asks."""

    gateway: Gateway
    daemon: Daemon
    postfix: PrivatePostfix
    clients: Mapping[str, Certificate]

    def send(self, sender: str, client: str, listener: int = 0, **options: object) -> Reply:
        """One mail, as if it came from that client address; `rcpt` are other recipients than the usual one."""
        at = self.postfix.listeners[listener]
        recipients = options.pop("rcpt", ["office@city.example"])
        return deliver(
            at.address,
            at.port,
            sender=sender,
            recipients=recipients,  # type: ignore[arg-type]
            xclient={"ADDR": client, "NAME": "[UNAVAILABLE]"},
            **options,  # type: ignore[arg-type]
        )


def check(listen: str) -> dict[str, str]:
    service = f"check_policy_service {listen}"
    return {"smtpd_sender_restrictions": service, "smtpd_data_restrictions": service}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    require("root", "postfix", "postfix-lmdb", "openssl")
    folder = Path(tempfile.mkdtemp(prefix="closedmail-"))
    folder.chmod(0o755)
    certificates = tmp_path_factory.mktemp("certificates")
    authority, other = Authority(certificates / "ca"), Authority(certificates / "other", "Another CA")
    server = authority.issue("gateway.city.example")
    clients = {
        "fingerprint": self_signed(certificates / "a", "mx.print.example"),
        "pubkey": self_signed(certificates / "b", "mx.pubkey.example"),
        "named": authority.issue("mx 1.köln.example"),
        "same name, own authority": self_signed(certificates / "c", "mx 1.köln.example"),
        "same name, other authority": other.issue("mx 1.köln.example"),
        "other name": authority.issue("mx.bonn.example"),
    }
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        gateway = Gateway(folder / "gateway")
        gateway.folder.mkdir()
        gateway.write_list(
            [
                *(f"{partner}\tesmtp:[{address_of(partner)}]" for partner in SAMPLED),
                f"koeln.example\tesmtp:[{RIGHT}]",
                f"xn--kln-sna.example\tesmtp:[{RIGHT}]",
                f".land.example\tesmtp:[{RIGHT}]:[IPv6:2001:db8::25]",
            ]
        )
        cert = 'network = "ndb"\ninbound.require = "cert"\ninbound.certificates = '
        gateway.configure(
            policyd='socket_group = "postfix"',
            inbound='mode = "enforce"\nallow_route_hosts = true',
            partners=f"""
                [partner."defer.example"]
                inbound = {{mode = "defer", allow_from = ["{RIGHT}"]}}
                [partner."report.example"]
                inbound = {{mode = "report", allow_from = ["{RIGHT}"]}}
                [partner."tls.example"]
                inbound = {{mode = "enforce", allow_from = ["{RIGHT}"], require_tls = true}}
                [partner."print.example"]
                {cert}[{{fingerprint = "{clients["fingerprint"].fingerprint}"}}]
                [partner."pubkey.example"]
                {cert}[{{pubkey_fingerprint = "{clients["pubkey"].pubkey_fingerprint}"}}]
                [partner."named.example"]
                {cert}[{{subject = "MX 1.köln.example", issuer = "Closed Net CA"}}]
                [partner."issued.example"]
                {cert}[{{issuer = "Closed Net CA"}}]
                """,
        )
        gateway.sync()
        daemon = stack.enter_context(Daemon(gateway.config, "--listen", gateway.listen, "--listen", "inet:127.0.0.1:0"))
        tls = {
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": str(server.chain),
            "smtpd_tls_CAfile": str(authority.ca_file),
            "smtpd_tls_ask_ccert": "yes",
            "smtpd_tls_fingerprint_digest": "sha256",
        }
        parameters = {**tls, **check(gateway.listen), "smtpd_authorized_xclient_hosts": "127.0.0.0/8"}
        data_only = {**check(daemon.where[1]), "smtpd_sender_restrictions": ""}
        listeners = [
            Listener(),
            Listener(options=check(daemon.where[1])),
            Listener(options=data_only),
            Listener(options={"smtputf8_enable": "no"}),
        ]
        postfix = stack.enter_context(PrivatePostfix(folder / "postfix", parameters, listeners=listeners))
        yield Door(gateway, daemon, postfix, clients)
        print(postfix.log())


def refused(reply: Reply) -> bool:
    """Whether it was refused by an enforced rule; the stage is the caller's."""
    return reply.code == 554 and reply.text.startswith("5.7.1 ")


def test_fifty_partners_from_their_own_and_from_another_address(door: Door) -> None:
    for at, partner in enumerate(SAMPLED):
        sender = f"office@{partner}"
        assert door.send(sender, address_of(partner)).accepted
        for other in (address_of(SAMPLED[at - 1]), WRONG):
            reply = door.send(sender, other)
            assert (reply.stage, refused(reply)) == ("rcpt", True)
            text = f"Mail from {partner} is accepted through ndb only: client address {other} is not authorised for it"
            assert reply.text.endswith(text)


def test_over_tcp_and_at_data_too(door: Door) -> None:
    for listener, stage in ((1, "rcpt"), (2, "data")):
        assert door.send("u@koeln.example", RIGHT, listener).accepted
        reply = door.send("u@koeln.example", WRONG, listener, rcpt=["a@city.example", "b@city.example"])
        assert (reply.stage, refused(reply)) == (stage, True)


def test_strangers_bounces_and_own_senders_pass(door: Door) -> None:
    for sender in ("u@stranger.example", "", "u@city.example", "u@below.koeln.example", "u@land.example"):
        assert door.send(sender, WRONG).accepted


def test_passing_is_no_permission_to_relay(door: Door) -> None:
    reply = door.send("u@koeln.example", RIGHT, rcpt=["u@elsewhere.example"])
    assert (reply.code, "Relay access denied" in reply.text) == (554, True)


def test_defer_and_report(door: Door) -> None:
    reply = door.send("u@defer.example", WRONG)
    assert (reply.stage, reply.code, reply.text[:6]) == ("rcpt", 450, "4.7.1 ")
    assert door.send("u@defer.example", RIGHT).accepted
    before = len(door.postfix.log())
    assert door.send("u@report.example", WRONG).accepted
    door.daemon.wait_for(
        rf"partner=report\.example verdict=report reason=address .* client={re.escape(WRONG)} instance=\S"
    )
    door.postfix.wait_for_log(
        r"warn: RCPT from unknown\[198\.18\.0\.9\]: Mail from report\.example is accepted through"
    )
    assert "warn: RCPT" in door.postfix.log()[before:]


SPELLINGS = [
    "u%koeln.example",
    "koeln.example!u",
    "u@koeln.example.",
    "u@KoElN.ExAmPlE",
    "U@KOELN.EXAMPLE",
    '"u"@koeln.example',
    '"a b"@koeln.example',
    '"u@evil.example"@koeln.example',
    "u%evil.example@koeln.example",
    "evil.example!u@koeln.example",
    "a!b%koeln.example@koeln.example",
    "@evil.example:u@koeln.example",
    "u@a.land.example",
    "u@a.b.c.land.example",
    "u@xn--kln-sna.example",
    "u@XN--KLN-SNA.example",
    "FROM: <u@koeln.example>",
    "FROM:u@koeln.example",
    "FROM:<u@koeln.example> SIZE=100 BODY=8BITMIME",
    '"u%koeln.example"',
    '"koeln.example!u"',
    "koeln.example!evil.example!u",
    "u%evil.example%koeln.example",
]
SMTPUTF8 = [
    "u@köln.example",
    "u@KÖLN.example",
    "ü%köln.example",
    "u@ko\u0308ln.example",
    "u@köln\u3002example",
    "ü@koeln.example",
]


@pytest.mark.parametrize("sender", [*SPELLINGS, *SMTPUTF8])
def test_spellings_of_a_partners_sender(door: Door, sender: str) -> None:
    utf8 = sender in SMTPUTF8
    reply = door.send(sender, WRONG, smtputf8=utf8)
    assert (reply.stage, refused(reply)) == ("rcpt", True), reply
    assert door.send(sender, RIGHT, smtputf8=utf8).accepted


@pytest.mark.parametrize(
    "sender",
    ['"u@koeln.example"@stranger.example', "u%koeln.example@stranger.example", "koeln.example!u@stranger.example"],
)
def test_spellings_of_a_strangers_sender(door: Door, sender: str) -> None:
    assert door.send(sender, WRONG).accepted


def test_the_postmaster_door_is_closed_at_data(door: Door) -> None:
    """Postfix skips all that was delayed to RCPT for this one recipient."""
    reply = door.send("u@koeln.example", WRONG, rcpt=["TO:<postmaster>"])
    assert (reply.stage, refused(reply)) == ("data", True)
    assert door.send("u@koeln.example", RIGHT, rcpt=["TO:<postmaster>"]).accepted


def test_a_mail_is_logged_once_however_many_recipients_it_has(door: Door) -> None:
    before = len(door.daemon.verdicts())
    recipients = [f"r{number}@city.example" for number in range(5)]
    assert door.send("u@p07.example", address_of("p07.example"), rcpt=recipients).accepted
    door.send("u@p08.example", WRONG)
    door.daemon.wait_for(rf"partner=p08\.example verdict=reject .* client={re.escape(WRONG)}")
    told = [line["partner"] for line in door.daemon.verdicts()[before:]]
    assert told == ["p07.example", "p08.example"]


@pytest.mark.parametrize(
    ("client", "accepted"),
    [
        ("2001:db8::25", True),
        ("2001:0DB8:0:0::0025", True),
        ("2001:db8::26", False),
        (RIGHT, True),
        ("::ffff:192.0.2.1", True),
        ("::ffff:198.18.0.9", False),
    ],
)
def test_ipv6_clients(door: Door, client: str, accepted: bool) -> None:
    reply = door.send("u@a.land.example", client)
    assert (reply.accepted, refused(reply)) == (accepted, not accepted), reply


def test_a_client_without_a_known_address(door: Door) -> None:
    reply = door.send("u@koeln.example", "[UNAVAILABLE]")
    assert (reply.stage, refused(reply)) == ("rcpt", True), reply


NOBODY = ""


@pytest.mark.parametrize(
    ("partner", "shown", "accepted"),
    [
        ("print.example", "fingerprint", True),
        ("print.example", "pubkey", False),
        ("print.example", "named", False),
        ("print.example", NOBODY, False),
        ("pubkey.example", "pubkey", True),
        ("pubkey.example", "fingerprint", False),
        ("pubkey.example", NOBODY, False),
        ("named.example", "named", True),
        ("named.example", "same name, own authority", False),
        ("named.example", "same name, other authority", False),
        ("named.example", "other name", False),
        ("named.example", NOBODY, False),
        ("issued.example", "other name", True),
        ("issued.example", "named", True),
        ("issued.example", "same name, other authority", False),
        ("issued.example", "fingerprint", False),
    ],
)
def test_client_certificates(door: Door, partner: str, shown: str, accepted: bool) -> None:
    pair = door.clients[shown].pair if shown else None
    reply = door.send(f"u@{partner}", WRONG, certificate=pair, tls=True)
    assert (reply.accepted, refused(reply)) == (accepted, not accepted), reply
    # Not even over the right address does it come without TLS.
    assert refused(door.send(f"u@{partner}", RIGHT))


def test_required_encryption(door: Door) -> None:
    assert door.send("u@tls.example", RIGHT, tls=True).accepted
    reply = door.send("u@tls.example", RIGHT)
    assert (refused(reply), reply.text.endswith("is not encrypted")) == (True, True)


def test_a_new_generation_is_in_force_at_the_next_mail(door: Door) -> None:
    assert door.send("u@new.example", WRONG).accepted
    text = door.gateway.list.read_text()
    with door.gateway.list.open("a") as file:
        file.write("new.example esmtp:[192.0.2.77]\n")
    door.gateway.sync()
    assert refused(door.send("u@new.example", WRONG))
    assert door.send("u@new.example", "192.0.2.77").accepted
    door.gateway.list.write_text(text)


@pytest.mark.parametrize("listener", [0, 3])
@pytest.mark.parametrize("sender", ["u@k\udcf6ln.example", "u%k\udcf6ln.example", "k\udcf6ln.example!u"])
def test_a_sender_that_is_not_utf8_does_not_even_reach_the_daemon(door: Door, sender: str, listener: int) -> None:
    assert door.send(sender, WRONG, listener).code in (500, 501)


def test_without_a_store_mail_waits_or_passes(door: Door) -> None:
    store, away = door.gateway.store, door.gateway.folder / "away"
    store.rename(away)
    try:
        reply = door.send("u@koeln.example", RIGHT)
        assert (reply.stage, reply.code) == ("rcpt", 451)
    finally:
        away.rename(store)
    assert door.send("u@koeln.example", RIGHT).accepted


def test_a_restart_of_the_daemon_loses_no_mail(door: Door) -> None:
    """Postfix keeps its connections, and finds the new daemon by itself."""
    gateway = door.gateway
    with ExitStack() as stack:
        first = stack.enter_context(Daemon(gateway.config, "--listen", f"unix:{gateway.folder}/again.sock"))
        options = check(first.where[0])
        postfix = stack.enter_context(
            PrivatePostfix(
                gateway.folder.parent / "again", {"smtpd_authorized_xclient_hosts": "127.0.0.0/8", **options}
            )
        )
        again = Door(gateway, first, postfix, {})
        assert again.send("u@koeln.example", RIGHT).accepted
        assert first.stop() == 0
        # Nobody is there: the mail waits at the client.
        reply = again.send("u@koeln.example", RIGHT)
        assert (reply.stage, reply.code) == ("rcpt", 451)
        assert "Server configuration problem" in reply.text
        stack.enter_context(Daemon(gateway.config, "--listen", first.where[0]))
        assert again.send("u@koeln.example", RIGHT).accepted
        assert refused(again.send("u@koeln.example", WRONG))
