"""The policy daemon asked by a running Postfix: what the client at the other end of SMTP reads."""

import json
import re
import shutil
import smtplib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.gateway import Gateway
from support.private_postfix import PrivatePostfix
from support.real import require

from closedmail.demo.demo_certificates import Authority, CertificateFiles, self_signed
from closedmail.demo.postfix_configuration import SmtpdListener
from closedmail.demo.smtp_client import SmtpReply, deliver

pytestmark = pytest.mark.real("root", "postfix", "postfix-lmdb", "openssl")

SAMPLED = [f"p{number:02}.example" for number in range(50)]
RIGHT, WRONG = "192.0.2.1", "198.18.0.9"  # WRONG is no partner's


def address_of(partner: str) -> str:
    return f"198.51.100.{int(partner[1:3]) + 1}"


@dataclass
class FrontEnd:
    """A Postfix and the daemon that it asks."""

    gateway: Gateway
    daemon: Daemon
    postfix: PrivatePostfix
    clients: Mapping[str, CertificateFiles]

    def send(self, sender: str, client: str, listener: int = 0, **options: object) -> SmtpReply:
        """One mail, as if it came from that client address ("": the real one, on loopback); `rcpt` are other recipients
        than the usual one."""
        at = self.postfix.listeners[listener]
        recipients = options.pop("rcpt", ["office@city.example"])
        return deliver(
            at.address,
            at.port,
            sender=sender,
            recipients=recipients,  # type: ignore[arg-type]
            xclient={"ADDR": client, "NAME": "[UNAVAILABLE]"} if client else None,
            **options,  # type: ignore[arg-type]
        )

    def logged_until(self, mark: str) -> int:
        """How many verdicts stand in the log, with one of a mail that is sent for it: all before are there then."""
        self.send(f"u@{mark}.land.example", WRONG)
        self.daemon.wait_for(rf" domain={mark}\.land\.example ")
        domains = [line["domain"] for line in self.daemon.verdicts()]
        return domains.index(f"{mark}.land.example") + 1


def check(listen: str) -> dict[str, str]:
    service = f"check_policy_service {listen}"
    return {"smtpd_sender_restrictions": service, "smtpd_data_restrictions": service}


# reject_text, and what the client reads of it.
TEXTS = {
    "fields": (
        "{domain} {network} {reason} {client_address} {generation}",
        "fields.MODE.example fields.MODE.example address 198.18.0.9 1",
    ),
    "braces": ("{{domain}} is {domain}", "{domain} is braces.MODE.example"),
    "percent": ("100%s %n %%", "100%s %n %%"),
    "codes": ("2.0.0 250 4.7.0 OK", "2.0.0 250 4.7.0 OK"),
    "words": ('DUNNO, OK; PERMIT "x" <a@b> \\', 'DUNNO, OK; PERMIT "x" <a@b> \\'),
    "blanks": ("  two  blanks  ", "two  blanks"),
    "blank": (" ", "Access denied"),  # Postfix's own words
    "unicode": ("köln: €" * 20, "köln: €" * 20),
    "longest": ("x" * 397 + "END", "x" * 397 + "END"),
    "beyond": ("{domain}" + "ö" * 100 + "{domain}" * 20, None),  # cut, by us
}


@pytest.fixture(scope="module")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
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
                [partner."rollover.example"]
                {cert}[{{fingerprint = "{clients["fingerprint"].fingerprint}"}},
                       {{pubkey_fingerprint = "{clients["pubkey"].pubkey_fingerprint}"}}]
                [partner."everyone.example"]
                inbound = {{mode = "enforce", allow_from = ["0.0.0.0/0", "::/0"]}}
                [partner."loopback.example"]
                inbound = {{mode = "enforce", allow_from = ["::1"]}}
                """
            + "".join(
                f'[partner."{name}.{mode}.example"]\n'
                f'inbound = {{mode = "{mode}", allow_from = ["{RIGHT}"], reject_text = {json.dumps(text)}}}\n'
                for name, (text, _) in TEXTS.items()
                for mode in ("enforce", "defer", "report")
            ),
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
        nowhere = {"smtpd_sender_restrictions": "", "smtpd_data_restrictions": ""}
        asked = f"check_policy_service {gateway.listen}"
        listeners = [
            SmtpdListener(),
            SmtpdListener(options=check(daemon.where[1])),
            SmtpdListener(options=data_only),
            SmtpdListener(options={"smtputf8_enable": "no"}),
            SmtpdListener(options={"smtpd_delay_reject": "no"}),
            SmtpdListener(options={**nowhere, "smtpd_end_of_data_restrictions": asked}),
            SmtpdListener(options={**nowhere, "smtpd_recipient_restrictions": asked}),
            SmtpdListener("::1"),
            # also for what a client has become
            SmtpdListener(options={"smtpd_authorized_xclient_hosts": "static:all"}),
        ]
        postfix = stack.enter_context(PrivatePostfix(folder / "postfix", parameters, listeners=listeners))
        yield FrontEnd(gateway, daemon, postfix, clients)
        print(postfix.log())


def refused(reply: SmtpReply) -> bool:
    """Whether it was refused by an enforced rule; the stage is the caller's."""
    return reply.code == 554 and reply.text.startswith("5.7.1 ")


def test_fifty_partners_from_their_own_and_from_another_address(front_end: FrontEnd) -> None:
    for at, partner in enumerate(SAMPLED):
        sender = f"office@{partner}"
        assert front_end.send(sender, address_of(partner)).accepted
        for other in (address_of(SAMPLED[at - 1]), WRONG):
            reply = front_end.send(sender, other)
            assert (reply.stage, refused(reply)) == ("rcpt", True)
            text = f"Mail from {partner} is accepted through ndb only: client address {other} is not authorised for it"
            assert reply.text.endswith(text)


def test_over_tcp_and_at_data_too(front_end: FrontEnd) -> None:
    for listener, stage in ((1, "rcpt"), (2, "data")):
        assert front_end.send("u@koeln.example", RIGHT, listener).accepted
        reply = front_end.send("u@koeln.example", WRONG, listener, rcpt=["a@city.example", "b@city.example"])
        assert (reply.stage, refused(reply)) == (stage, True)


def test_strangers_bounces_and_own_senders_pass(front_end: FrontEnd) -> None:
    for sender in ("u@stranger.example", "", "u@city.example", "u@below.koeln.example", "u@land.example"):
        assert front_end.send(sender, WRONG).accepted


def test_passing_is_no_permission_to_relay(front_end: FrontEnd) -> None:
    reply = front_end.send("u@koeln.example", RIGHT, rcpt=["u@elsewhere.example"])
    assert (reply.code, "Relay access denied" in reply.text) == (554, True)


def test_defer_and_report(front_end: FrontEnd) -> None:
    reply = front_end.send("u@defer.example", WRONG)
    assert (reply.stage, reply.code, reply.text[:6]) == ("rcpt", 450, "4.7.1 ")
    assert front_end.send("u@defer.example", RIGHT).accepted
    before = len(front_end.postfix.log())
    assert front_end.send("u@report.example", WRONG).accepted
    front_end.daemon.wait_for(
        rf"partner=report\.example verdict=report reason=address .* client={re.escape(WRONG)} instance=\S"
    )
    front_end.postfix.wait_for_log(
        r"warn: RCPT from unknown\[198\.18\.0\.9\]: Mail from report\.example is accepted through"
    )
    assert "warn: RCPT" in front_end.postfix.log()[before:]


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
def test_spellings_of_a_partners_sender(front_end: FrontEnd, sender: str) -> None:
    utf8 = sender in SMTPUTF8
    reply = front_end.send(sender, WRONG, smtputf8=utf8)
    assert (reply.stage, refused(reply)) == ("rcpt", True), reply
    assert front_end.send(sender, RIGHT, smtputf8=utf8).accepted


@pytest.mark.parametrize(
    "sender",
    ['"u@koeln.example"@stranger.example', "u%koeln.example@stranger.example", "koeln.example!u@stranger.example"],
)
def test_spellings_of_a_strangers_sender(front_end: FrontEnd, sender: str) -> None:
    assert front_end.send(sender, WRONG).accepted


# The text


@pytest.mark.parametrize("mode", ["enforce", "defer", "report"])
@pytest.mark.parametrize("name", TEXTS)
def test_reject_text(front_end: FrontEnd, name: str, mode: str) -> None:
    """What Postfix makes of it: all that we send comes through, whatever is in it, and no code is taken from it."""
    domain, expected = f"{name}.{mode}.example", TEXTS[name][1]
    text = (expected or "").replace("MODE", mode)
    if expected is None:
        whole = f"{domain}{'ö' * 100}{domain * 20}".encode()
        text = whole[:512].decode("utf-8", "ignore")
    reply = front_end.send(f"u@{domain}", WRONG)
    if mode == "report":
        assert reply.accepted
        said = "" if name == "blank" else re.escape(text)
        front_end.postfix.wait_for_log(rf"warn: RCPT from unknown\[198\.18\.0\.9\]: {said}\s*; from=<u@{domain}>")
        return
    code, status = (554, "5.7.1") if mode == "enforce" else (450, "4.7.1")
    assert (reply.stage, reply.code) == ("rcpt", code)
    assert reply.text == f"{status} <u@{domain}>: Sender address rejected: {text}"


@pytest.mark.parametrize("label", ["a" * 63, "{client_address}", "{0}", "%s%n", "a_b", "(x)", "a/b"])
def test_text_from_the_client(front_end: FrontEnd, label: str) -> None:
    """A sender that Postfix lets through is repeated as it is, and nothing else is done with it."""
    reply = front_end.send(f"u@{label}.land.example", WRONG)
    if reply.code == 501:  # Postfix wants no such domain
        assert reply.stage == "mail"
        return
    assert reply.text == (
        f"5.7.1 <u@{label}.land.example>: Sender address rejected: Mail from {label}.land.example is accepted through "
        f"ndb only: client address {WRONG} is not authorised for it"
    )


# The doors


@pytest.mark.parametrize(
    ("listener", "stage", "postmaster"),
    [
        (0, "rcpt", "data"),
        (1, "rcpt", "data"),  # over TCP
        (2, "data", "data"),  # at DATA alone
        (4, "mail", "mail"),  # smtpd_delay_reject = no
        (5, "message", "message"),  # smtpd_end_of_data_restrictions
        (6, "rcpt", ""),  # smtpd_recipient_restrictions alone: what the check at DATA is for
    ],
)
def test_every_state_in_which_postfix_asks(front_end: FrontEnd, listener: int, stage: str, postmaster: str) -> None:
    for recipients in (["a@city.example"], ["a@city.example", "b@city.example", "c@city.example"]):
        reply = front_end.send("u@koeln.example", WRONG, listener, rcpt=recipients)
        assert (reply.stage, refused(reply)) == (stage, True), reply
        assert front_end.send("u@koeln.example", RIGHT, listener, rcpt=recipients).accepted
        assert front_end.send("u@stranger.example", WRONG, listener, rcpt=recipients).accepted
    reply = front_end.send("u@koeln.example", WRONG, listener, rcpt=["TO:<postmaster>"])
    if postmaster:
        assert (reply.stage, refused(reply)) == (postmaster, True), reply
    else:
        assert reply.accepted
    assert front_end.send("u@koeln.example", RIGHT, listener, rcpt=["TO:<postmaster>"]).accepted


# Mails of one session: client, sender, recipients, and the codes at MAIL, each RCPT, DATA and the end of the message.
SESSION: list[tuple[str, str, list[str], list[int]]] = [
    (WRONG, "u@koeln.example", ["a", "b"], [250, 554, 554]),
    (WRONG, "u@stranger.example", ["a", "b", "c"], [250, 250, 250, 250, 354, 250]),
    (WRONG, "u@koeln.example", ["postmaster"], [250, 250, 554]),
    (WRONG, "u@koeln.example", ["a", "postmaster", "b"], [250, 554, 250, 554, 554]),
    (WRONG, "u@defer.example", ["a", "b"], [250, 450, 450]),
    (WRONG, "", ["a"], [250, 250, 354, 250]),
    (WRONG, "u@p03.example", ["a"], [250, 554]),
    (RIGHT, "u@koeln.example", ["a", "b"], [250, 250, 250, 354, 250]),
    (RIGHT, "u@koeln.example", ["postmaster", "a"], [250, 250, 250, 354, 250]),
    (RIGHT, "u@p03.example", ["a"], [250, 554]),
    ("[UNAVAILABLE]", "u@koeln.example", ["a"], [250, 554]),
    ("IPV6:2001:db8::25", "u@a.land.example", ["a"], [250, 250, 354, 250]),
]


def test_several_mails_and_recipients_in_one_session(front_end: FrontEnd) -> None:
    """Each is decided by itself, by what the client has become with XCLIENT, and logged once."""
    before = front_end.logged_until("begin")
    at, who = front_end.postfix.listeners[8], ""
    with smtplib.SMTP(at.address, at.port, timeout=30) as client:
        client.ehlo("client.example")
        for address, sender, recipients, codes in SESSION:
            if address != who:
                assert client.docmd("XCLIENT", f"ADDR={address} NAME=[UNAVAILABLE]")[0] == 220
                client.ehlo("client.example")
                who = address
            at_city = [each if each == "postmaster" else f"{each}@city.example" for each in recipients]
            got = [client.docmd("MAIL", f"FROM:<{sender}>")[0]]
            got += [client.docmd("RCPT", f"TO:<{each}>")[0] for each in at_city]
            if 250 in got[1:]:
                got.append(client.docmd("DATA")[0])
                if got[-1] == 354:
                    client.send(b"Subject: one of several\r\n\r\nA test.\r\n.\r\n")
                    got.append(client.getreply()[0])
            assert got == codes, (address, sender, recipients)
            client.docmd("RSET")
    asked = [(sender, client) for client, sender, _, _ in SESSION if sender not in ("", "u@stranger.example")]
    end = front_end.logged_until("end") - 1
    lines = front_end.daemon.verdicts()[before:end]
    clients = {"[UNAVAILABLE]": "unknown", "IPV6:2001:db8::25": "2001:db8::25"}
    assert [(f"u@{line['domain']}", line["client"]) for line in lines] == [
        (sender, clients.get(client, client)) for sender, client in asked
    ]
    assert len({line["instance"] for line in lines}) == len(lines)


def test_the_postmaster_door_is_closed_at_data(front_end: FrontEnd) -> None:
    """Postfix skips all that was delayed to RCPT for this one recipient."""
    reply = front_end.send("u@koeln.example", WRONG, rcpt=["TO:<postmaster>"])
    assert (reply.stage, refused(reply)) == ("data", True)
    assert front_end.send("u@koeln.example", RIGHT, rcpt=["TO:<postmaster>"]).accepted


def test_a_mail_is_logged_once_however_many_recipients_it_has(front_end: FrontEnd) -> None:
    before = front_end.logged_until("once")
    recipients = [f"r{number}@city.example" for number in range(5)]
    assert front_end.send("u@p07.example", address_of("p07.example"), rcpt=recipients).accepted
    front_end.send("u@p08.example", WRONG)
    end = front_end.logged_until("thereafter") - 1
    partners = [line["partner"] for line in front_end.daemon.verdicts()[before:end]]
    assert partners == ["p07.example", "p08.example"]


@pytest.mark.parametrize(
    ("partner", "client", "seen", "accepted"),
    [
        ("a.land.example", "2001:db8::25", "2001:db8::25", True),
        ("a.land.example", "2001:0DB8:0:0::0025", "2001:db8::25", True),
        ("a.land.example", "2001:db8::26", "2001:db8::26", False),
        ("a.land.example", RIGHT, RIGHT, True),
        ("a.land.example", "::ffff:192.0.2.1", RIGHT, True),
        ("a.land.example", "::ffff:198.18.0.9", WRONG, False),
        ("a.land.example", "::192.0.2.1", "::c000:201", False),  # IPv4-compatible is no IPv4
        ("a.land.example", "fe80::1", "fe80::1", False),
        ("everyone.example", "2001:db8::1", "2001:db8::1", True),
        ("everyone.example", "fe80::1", "fe80::1", True),
        ("everyone.example", "[UNAVAILABLE]", "unknown", False),  # nobody, even where all addresses may
        ("koeln.example", "[UNAVAILABLE]", "unknown", False),
        ("koeln.example", "192.0.2.01", RIGHT, True),  # Postfix makes it tidy
        ("loopback.example", "", "127.0.0.1", False),
    ],
)
def test_client_addresses(front_end: FrontEnd, partner: str, client: str, seen: str, accepted: bool) -> None:
    reply = front_end.send(f"u@{partner}", client)
    assert (reply.accepted, refused(reply)) == (accepted, not accepted), reply
    if not accepted:
        assert f" client address {seen} is not authorised" in reply.text
    verdict = "accept" if accepted else "reject"
    addresses = "|".join(map(re.escape, (client, seen)))
    front_end.daemon.wait_for(rf"verdict={verdict} reason=\w+ domain={re.escape(partner)} client=({addresses}) ")


@pytest.mark.parametrize("client", ["fe80::1%lo", "::ffff:192.0.2.1%lo", "192.0.2.1.", "[TEMPUNAVAIL]"])
def test_addresses_that_postfix_never_tells(front_end: FrontEnd, client: str) -> None:
    """It takes none with a zone, nor what only looks like one."""
    reply = front_end.send("u@koeln.example", client)
    assert (reply.stage, reply.code) == ("xclient", 501)


@pytest.mark.real("::1")
def test_a_client_that_comes_over_ipv6(front_end: FrontEnd) -> None:
    """A real one, on the IPv6 loopback."""
    assert front_end.send("u@loopback.example", "", 7).accepted
    reply = front_end.send("u@koeln.example", "", 7)
    assert (reply.stage, refused(reply)) == ("rcpt", True)
    assert "client address ::1 is not authorised" in reply.text


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
        ("rollover.example", "fingerprint", True),
        ("rollover.example", "pubkey", True),
        ("rollover.example", "named", False),
    ],
)
def test_client_certificates(front_end: FrontEnd, partner: str, shown: str, accepted: bool) -> None:
    pair = front_end.clients[shown].pair if shown else None
    reply = front_end.send(f"u@{partner}", WRONG, certificate=pair, tls=True)
    assert (reply.accepted, refused(reply)) == (accepted, not accepted), reply
    # Not even over the right address does it come without TLS.
    assert refused(front_end.send(f"u@{partner}", RIGHT))


def test_required_encryption(front_end: FrontEnd) -> None:
    assert front_end.send("u@tls.example", RIGHT, tls=True).accepted
    reply = front_end.send("u@tls.example", RIGHT)
    assert (refused(reply), reply.text.endswith("is not encrypted")) == (True, True)


def test_a_new_generation_is_in_force_at_the_next_mail(front_end: FrontEnd) -> None:
    assert front_end.send("u@new.example", WRONG).accepted
    text = front_end.gateway.list.read_text()
    with front_end.gateway.list.open("a") as file:
        file.write("new.example esmtp:[192.0.2.77]\n")
    front_end.gateway.sync()
    assert refused(front_end.send("u@new.example", WRONG))
    assert front_end.send("u@new.example", "192.0.2.77").accepted
    front_end.gateway.list.write_text(text)


@pytest.mark.parametrize("listener", [0, 3])
@pytest.mark.parametrize("sender", ["u@k\udcf6ln.example", "u%k\udcf6ln.example", "k\udcf6ln.example!u"])
def test_a_sender_that_is_not_utf8_does_not_even_reach_the_daemon(
    front_end: FrontEnd, sender: str, listener: int
) -> None:
    assert front_end.send(sender, WRONG, listener).code in (500, 501)


def test_without_a_store_mail_waits_or_passes(front_end: FrontEnd) -> None:
    store, away = front_end.gateway.store, front_end.gateway.folder / "away"
    store.rename(away)
    try:
        reply = front_end.send("u@koeln.example", RIGHT)
        assert (reply.stage, reply.code) == ("rcpt", 451)
    finally:
        away.rename(store)
    assert front_end.send("u@koeln.example", RIGHT).accepted


def test_a_restart_of_the_daemon_loses_no_mail(front_end: FrontEnd) -> None:
    """Postfix keeps its connections, and finds the new daemon by itself."""
    gateway = front_end.gateway
    with ExitStack() as stack:
        first = stack.enter_context(Daemon(gateway.config, "--listen", f"unix:{gateway.folder}/again.sock"))
        options = check(first.where[0])
        postfix = stack.enter_context(
            PrivatePostfix(
                gateway.folder.parent / "again", {"smtpd_authorized_xclient_hosts": "127.0.0.0/8", **options}
            )
        )
        again = FrontEnd(gateway, first, postfix, {})
        assert again.send("u@koeln.example", RIGHT).accepted
        assert first.stop() == 0
        # Nobody is there: the mail waits at the client.
        reply = again.send("u@koeln.example", RIGHT)
        assert (reply.stage, reply.code) == ("rcpt", 451)
        assert "Server configuration problem" in reply.text
        stack.enter_context(Daemon(gateway.config, "--listen", first.where[0]))
        assert again.send("u@koeln.example", RIGHT).accepted
        assert refused(again.send("u@koeln.example", WRONG))
