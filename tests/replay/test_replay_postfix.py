"""What `replay` makes of a running Postfix's log is what policyd decided while the mails came.

Every rule is in report mode, so that all mail comes through and policyd says what it thinks of it; its verdicts are
then counted and compared.
"""

import gzip
import lzma
import re
import shutil
import smtplib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, closedmail_inside
from support.gateway import Gateway
from support.mail_log import as_classic, as_export, as_rfc3339
from support.private_postfix import PrivatePostfix
from support.real import require

from closedmail.demo.demo_certificates import Authority, CertificateFiles, self_signed
from closedmail.demo.postfix_configuration import SmtpdListener
from closedmail.demo.smtp_client import deliver

pytestmark = pytest.mark.real("root", "postfix", "postfix-lmdb", "openssl")

RIGHT, WRONG, SIX = "192.0.2.1", "198.18.0.9", "2001:db8::25"
LEVELS = {"full": "summary, peercert", "two": "2", "one": "1", "none": "0"}


@dataclass
class Received:
    """A gateway, the log of all mails, and what policyd said of them: (partner, verdict, client) to a number."""

    gateway: Gateway
    lines: list[str]
    verdicts: Counter[tuple[str, str, str]]
    messages: int
    clients: Mapping[str, CertificateFiles]

    def replay(self, path: Path, *options: str) -> Any:
        found = closedmail_inside("replay", "--json", *options, str(path), config=self.gateway.config)
        assert (found.status, found.stderr) == (0, "")
        return found.json


SENDERS = [
    "u@koeln.example",
    "U@KoElN.example.",
    "u%koeln.example",
    "koeln.example!u",
    '"u@koeln.example"@stranger.example',
    '"a@b>, size=1, nrcpt=1 (queue active)"@koeln.example',
    '"> to=<x@city.example> proto=ESMTP helo=<y>"@stranger.example',
    '"4jYc9b1lY2zJDSd: client=mx[192.0.2.1]"@koeln.example',
    '"a b\x01\x7f\\"c"@koeln.example',
    "u@xn--kln-sna.example",
    "ü@köln.example",
    "u@a.land.example",
    "u@tls.example",
    "u@stranger.example",
    "u@city.example",
    "",
]
CERTIFIED = ["u@print.example", "u@pubkey.example", "u@named.example", "u@either.example", "u@tls.example"]


@pytest.fixture(scope="module", params=LEVELS)
def received(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Received]:
    require("root", "postfix", "postfix-lmdb", "openssl")
    folder = Path(tempfile.mkdtemp(prefix="closedmail-"))
    folder.chmod(0o755)
    certificates = tmp_path_factory.mktemp("certificates")
    authority = Authority(certificates / "ca")
    server = authority.issue("gateway.city.example")
    clients = {
        "print": self_signed(certificates / "a", "mx.print.example"),
        "pubkey": self_signed(certificates / "b", "mx, issuer=X, fingerprint=00:11"),
        "named": authority.issue("mx 1.köln.example"),
    }
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        gateway = Gateway(folder / "gateway")
        gateway.folder.mkdir()
        gateway.write_list(
            [f"{name}.example esmtp:[{RIGHT}]" for name in ("koeln", "xn--kln-sna")]
            + [f".land.example esmtp:[{RIGHT}]:[IPv6:{SIX}]"]
        )
        cert = f'network = "ndb"\ninbound.allow_from = ["{RIGHT}"]\ninbound.require = "cert"\ninbound.certificates = '
        gateway.configure(
            policyd='socket_group = "postfix"',
            inbound='mode = "report"\nallow_route_hosts = true',
            partners=f"""
                [partner."tls.example"]
                network = "ndb"
                inbound = {{allow_from = ["{RIGHT}"], require_tls = true}}
                [partner."print.example"]
                {cert}[{{fingerprint = "{clients["print"].fingerprint}"}}]
                [partner."pubkey.example"]
                {cert}[{{pubkey_fingerprint = "{clients["pubkey"].pubkey_fingerprint}"}}]
                [partner."named.example"]
                {cert}[{{subject = "mx 1.köln.example", issuer = "Closed Net CA"}}]
                [partner."either.example"]
                {cert.replace('"cert"', '"ip or cert"')}[{{issuer = "Closed Net CA"}}]
                """,
        )
        gateway.sync()
        daemon = stack.enter_context(Daemon(gateway.config))
        check = f"check_policy_service {gateway.listen}"
        parameters = {
            "smtpd_sender_restrictions": check,
            "smtpd_data_restrictions": check,
            "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": str(server.chain),
            "smtpd_tls_CAfile": str(authority.ca_file),
            "smtpd_tls_ask_ccert": "yes",
            "smtpd_tls_fingerprint_digest": "sha256",
            "smtpd_tls_loglevel": LEVELS[request.param],
        }
        listeners = [
            SmtpdListener(),
            SmtpdListener(options={"syslog_name": "postfix/submission", "smtpd_client_port_logging": "yes"}),
            SmtpdListener(options={"enable_long_queue_ids": "no"}),
        ]
        postfix = stack.enter_context(PrivatePostfix(folder / "postfix", parameters, listeners=listeners))
        messages = _send_all(postfix, clients)
        _wait_for_queue(postfix, messages)
        logged = daemon.verdicts()
        verdicts = Counter((line["partner"], line["verdict"], line["client"]) for line in logged)
        lines = postfix.log().splitlines()
        yield Received(gateway, lines, verdicts, messages, clients)


def _send_all(postfix: PrivatePostfix, clients: Mapping[str, CertificateFiles]) -> int:
    number = 0

    def send(sender: str, address: str, certificate: str | None = None, **options: Any) -> None:
        nonlocal number
        at = postfix.listeners[number % len(postfix.listeners)]
        pair = clients[certificate].pair if certificate else None
        xclient = {"ADDR": address, "NAME": "[UNAVAILABLE]", **options.pop("more", {})}
        reply = deliver(
            at.address,
            at.port,
            sender=sender,
            recipients=["office@city.example", "other@city.example"],
            helo="a> proto=x, client=b[192.0.2.1]",
            xclient=xclient,
            certificate=pair,
            smtputf8=not sender.isascii(),
            **options,
        )
        assert reply.accepted, reply
        number += 1

    for sender in SENDERS:
        for address in (RIGHT, WRONG, SIX, "::ffff:192.0.2.1", "[UNAVAILABLE]"):
            send(sender, address)
        send(sender, RIGHT, tls=True)
    for sender in CERTIFIED:
        for certificate in (None, *clients):
            for address in (RIGHT, WRONG):
                send(sender, address, certificate, tls=certificate is not None)
                send(sender, address, certificate, tls=True)
    send("u@koeln.example", WRONG, more={"LOGIN": "joe, x=1"})
    # Two mails in one session, one that is never finished, one of our own.
    with smtplib.SMTP(postfix.address, postfix.port) as client:
        client.docmd("XCLIENT", f"ADDR={WRONG}")
        client.ehlo()
        for sender in ("one@koeln.example", "two@koeln.example"):
            client.sendmail(sender, ["office@city.example"], "test")
            number += 1
        client.mail("never@koeln.example")
        client.docmd("QUIT")
    postfix.submit("u@koeln.example", ["office@city.example"])
    return number


def _wait_for_queue(postfix: PrivatePostfix, messages: int) -> None:
    """Until all is delivered; our own mail is one more."""
    deadline = time.monotonic() + 30
    while (removed := len(re.findall(r"/qmgr\[\d+\]: \w+: removed$", postfix.log(), re.MULTILINE))) <= messages:
        assert time.monotonic() < deadline, f"{removed} of {messages + 1} delivered"
        time.sleep(0.05)


FORMATS: Mapping[str, Callable[[Sequence[str]], bytes]] = {
    "mail.log": as_classic,
    "mail.log.1": as_rfc3339,
    "export": as_export,
    "mail.log.gz": lambda lines: gzip.compress(as_classic(lines)),
    "mail.log.xz": lambda lines: lzma.compress(as_rfc3339(lines)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_numbers_as_policyd(received: Received, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](received.lines))
    found = received.replay(path)
    assert (found["messages"], found["unreadable"], found["handed_back"]) == (received.messages, 0, 0)
    assert found["others"]["sasl"] == 1
    decided: dict[str, Counter[str]] = {}
    addresses: dict[str, Counter[str]] = {}
    for (partner, verdict, client), count in received.verdicts.items():
        decided.setdefault(partner, Counter())[verdict] += count
        addresses.setdefault(partner, Counter())[client] += count
    assert found["partners"].keys() == decided.keys()
    for partner, each in found["partners"].items():
        assert each["mode"] == "report"
        assert each["clients"] == addresses[partner], partner
        assert each["allow_from"] == [a for a in (RIGHT, WRONG, SIX) if a in addresses[partner]], partner
        counted = (each["accept"], each["reject"], each["unknown"])
        exact = (decided[partner]["accept"], decided[partner]["report"], 0)
        if each["unknown"]:
            # Never a refusal, and never an acceptance, that policyd did not see as well.
            assert (counted[0] <= exact[0], counted[1] <= exact[1], sum(counted)) == (True, True, sum(exact)), partner
        else:
            assert counted == exact, partner


def test_what_each_level_of_logging_leaves_unknown(
    received: Received, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    level = request.node.callspec.params["received"]
    path = tmp_path / "mail.log"
    path.write_bytes(as_classic(received.lines))
    partners = received.replay(path)["partners"]
    unknown = {name for name, each in partners.items() if each["unknown"]}
    certificates = [each for partner in partners.values() for each in partner["certificates"]]
    if level in ("full", "two"):
        assert unknown == set()
        seen = {(each["fingerprint"], each["pubkey_fingerprint"]) for each in certificates}
        assert seen == {
            (each.fingerprint.replace(":", "").lower(), each.pubkey_fingerprint.replace(":", "").lower())
            for each in received.clients.values()
        }
        assert {(each["trusted"], each["subject"]) for each in certificates} == {
            (True, "mx 1.köln.example"),
            (False, "mx.print.example"),
            (False, None),  # its name holds a comma, and what looks like an issuer
        }
    elif level == "one":
        # What was not verified has no name that counts: only its fingerprints are unknown.
        assert unknown == {"print.example", "pubkey.example", "named.example", "either.example"}
        assert {each["trusted"] for each in certificates} == {True, False}
        assert {each["fingerprint"] for each in certificates} == {None}
    else:
        # Postfix counts STARTTLS at each session's end, so that even then require_tls can be judged.
        assert unknown == {"print.example", "pubkey.example", "named.example", "either.example"}
        assert certificates == []
    for name in unknown:
        assert list(partners[name]["missing"]) == ["certificate"]
