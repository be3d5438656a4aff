"""Run `closedmail demo`: a closed network on loopback, from the signed list to the mails that pass or not."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from closedmail.core.model import Outbound, own_service_name
from closedmail.core.where import parse_where
from closedmail.demo.demo_certificates import Authority, CertificateFiles, self_signed
from closedmail.demo.demo_network import LIST, NAME, OWN, DemoNetwork, make_network
from closedmail.demo.demo_postfix import DemoPostfix
from closedmail.demo.mails import MAILS, DemoMail
from closedmail.demo.smtp_client import SmtpReply, deliver
from closedmail.errors import ClosedmailError
from closedmail.explain.explain import explain_inbound, explain_outbound
from closedmail.inbound.facts import ClientCertificate, Envelope
from closedmail.mta.network_service import NetworkService, service_entry
from closedmail.programs import own_module
from closedmail.store.environment import store_path
from closedmail.store.snapshot import Snapshot, StoreReader
from closedmail.sync.run import sync

Say = Callable[[str], None]
_START = 10.0  # seconds that the daemon may take to listen


def run_demo(say: Say) -> bool:
    """Run the whole demo, and report each step; True if every mail got the expected answer.

    Raises ClosedmailError when a part is missing or fails. Leaves nothing behind.
    """
    for command, package in (("openssl", "openssl"), ("gpg", "gnupg")):
        if shutil.which(command) is None:
            raise ClosedmailError(f"{command} not found: install it (apt install {package})")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="closedmail-demo-")))
        directory.chmod(0o755)  # Postfix's processes come in as another user
        socket = directory / "policy.sock"
        certificates: Mapping[str, CertificateFiles | None] = {
            "": None,
            "right": self_signed(directory / "clinic", "mail.clinic.example"),
            "wrong": self_signed(directory / "other", "mail.clinic.example"),
        }
        server = Authority(directory / "ca").issue(f"gateway.{OWN}")
        services = [_network_service(directory)]
        postfix = DemoPostfix(directory / "postfix", _main_cf(directory, socket, server), services=services)
        # Postfix runs before the first sync, as on a real gateway: its configuration is what sync asks.
        say("1. A private Postfix on loopback, with closedmail's maps and policy service in its main.cf")
        (directory / "maps").mkdir()
        stack.enter_context(postfix)
        say("2. A signing key, a signed list of a dozen partners, a configuration")
        pinned = certificates["right"]
        if pinned is None:
            raise ClosedmailError("the demo's certificate is missing")
        network = make_network(directory, socket, postfix.etc, pinned)
        say(_indented(network.text))
        say("3. closedmail sync")
        report = sync(network.config)
        for line in report.lines():
            say(f"   {line}")
        if report.generation is None:
            raise ClosedmailError("the demo's list was refused, see above")
        say("4. closedmail policyd, asked by Postfix for every mail")
        stack.enter_context(_policyd(network))
        store = stack.enter_context(StoreReader(store_path(network.config.gateway.state_dir)))
        snapshot = store.current()
        say("5. Mails come in:\n")
        right = _mails_come_in(say, postfix, snapshot, certificates)
        say("\n6. Where a mail to each of them goes, by the rows that Postfix reads:\n")
        _routes(say, postfix, snapshot, directory / "maps")
    return right


def _main_cf(directory: Path, socket: Path, server: CertificateFiles) -> Mapping[str, str]:
    check = f"check_policy_service unix:{socket}"
    return {
        "mydestination": OWN,
        "transport_maps": f"lmdb:{directory}/maps/transport, regexp:{directory}/maps/recipients_unusual",
        # The policy service also runs in the data restrictions: RCPT TO:<postmaster> skips all earlier ones.
        "smtpd_sender_restrictions": check,
        "smtpd_data_restrictions": check,
        "smtpd_tls_security_level": "may",
        "smtpd_tls_cert_file": str(server.certificate),
        "smtpd_tls_key_file": str(server.key),
        "smtpd_tls_ask_ccert": "yes",
        "smtpd_tls_fingerprint_digest": "sha256",
    }


def _network_service(directory: Path) -> str:
    """Render the entry of master.cf by which the network's mail leaves; in earnest setup makes it."""
    outbound = Outbound("encrypt", own_service_name(NAME), own_service=True)
    path = f"{directory}/maps/{outbound.tls_table}"
    return service_entry(NetworkService(outbound.transport, path, "lmdb", outbound.tls))


@contextmanager
def _policyd(network: DemoNetwork) -> Iterator[None]:
    """Run the daemon as a process of its own, as systemd would, and end it by its process id."""
    process = subprocess.Popen(
        own_module("closedmail", "--config", network.config.path, "policyd"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        socket = Path(parse_where(network.config.policyd.listen[0]).path)
        deadline = time.monotonic() + _START
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                words = process.stderr.read().decode("utf-8", "replace") if process.stderr else ""
                raise ClosedmailError(f"policyd does not start: {words}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate()


def _mails_come_in(
    say: Say, postfix: DemoPostfix, snapshot: Snapshot, certificates: Mapping[str, CertificateFiles | None]
) -> bool:
    rows, right = [], True
    for mail in MAILS:
        certificate = certificates[mail.certificate]
        reply = deliver(
            postfix.address,
            postfix.port,
            sender=mail.sender,
            recipients=[mail.recipient],
            source_address=mail.client,
            certificate=certificate.pair if certificate else None,
            smtputf8=mail.smtputf8,
        )
        as_expected = reply.accepted == mail.passes
        right = right and as_expected
        mark = "" if as_expected else "  << NOT AS EXPECTED"
        rows.append(
            (mail.about, f"<{mail.sender}>", mail.client, _answer(reply), _why(mail, certificate, snapshot) + mark)
        )
    _table(say, ("mail", "sender", "client", "Postfix answered", "why"), rows)
    return right


def _why(mail: DemoMail, certificate: CertificateFiles | None, snapshot: Snapshot) -> str:
    shown = ClientCertificate()
    if certificate:
        digests = (text.replace(":", "").lower() for text in (certificate.fingerprint, certificate.pubkey_fingerprint))
        shown = ClientCertificate("", "", *digests)
    verdict = explain_inbound(snapshot, Envelope(mail.sender, mail.client, "", shown, bool(certificate))).verdict
    partner = f" ({verdict.match.key})" if verdict.match else ""
    return f"{verdict.reason}{partner}"


def _answer(reply: SmtpReply) -> str:
    words = reply.text.split()
    return f"{reply.code} {words[0] if words else ''}" + (" accepted" if reply.accepted else f" at {reply.stage}")


def _routes(say: Say, postfix: DemoPostfix, snapshot: Snapshot, maps: Path) -> None:
    domains = [line.split()[0] for line in LIST.splitlines() if line and line[0] not in "#."]
    rows = []
    for domain in (*domains, "deep.bonn.example", "inside.example", "elsewhere.example"):
        found = explain_outbound(snapshot, domain)
        key = found.partner or domain
        row = postfix.lookup(key, f"lmdb:{maps}/transport")
        if found.transport is not None and row != found.transport:
            raise ClosedmailError(f"the map has {row!r} for {key}, the policy store {found.transport!r}")
        policy = ", ".join(sorted(set(found.tls_policy.values())))
        rows.append((domain, found.verdict, found.transport or "as Postfix would without closedmail", policy or "-"))
    _table(say, ("recipient's domain", "verdict", "transport", "TLS"), rows)


def _table(say: Say, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, ["-" * width for width in widths], *rows):
        say("   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _indented(text: str) -> str:
    return "".join(f"   | {line}\n" for line in text.splitlines())
