"""Each example of postfix-examples/, applied by the commands of its README to a running Postfix, and put to the test.

Files and commands are used as they are. What `Installation.table` names, and nothing else, is rewritten: paths, ports,
addresses of hosts that must answer, and what is marked in the files as the administrator's to fill in.
"""

import json
import os
import re
import shlex
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon
from support.https_server import Answer, HttpsServer
from support.keys import Signer
from support.private_postfix import PrivatePostfix
from support.real import SBIN, require
from support.sink import Sink

from closedmail.config import load
from closedmail.demo.demo_certificates import Authority, CertificateFiles, self_signed
from closedmail.demo.ports import free_port
from closedmail.demo.smtp_client import SmtpReply, deliver

FOLDER = Path(__file__).parents[1] / "postfix-examples"
NDB, PARTNERS = "netz-des-bundes", "partner-by-partner"
ndb_only = pytest.mark.parametrize("gateway", [NDB], indirect=True)
partners_only = pytest.mark.parametrize("gateway", [PARTNERS], indirect=True)
pytestmark = pytest.mark.real("root", "postfix", "openssl", "gpg")

# The code blocks of the README, in their order.
FILES, SYNC, HAD, SET, WAYS, MEND, ASK, ENFORCE, SUBDOMAINS, POSTSCREEN = range(10)

PARTNER, OWN = "office@werk.example", "mayor@city.example"
PARTNER_CLIENT = "198.51.100.40"  # may send as PARTNER in both examples
STRANGER = "203.0.113.66"
FILTER = "127.0.0.9"  # the client whose XCLIENT is believed

NOWHERE = Path(__file__).parent / "support" / "nowhere"
LIST = """\
koeln.example    esmtp:[127.45.0.11]
polizei.example  esmtp:[127.45.0.12]
bonn.example     esmtp:[127.45.0.13]
werk.example     esmtp:[127.45.0.14]
dead.example     esmtp:[127.45.0.15]
police.region.example  esmtp:[127.45.0.16]
"""
FALLBACK, DEAD_HOST, OWN_HOST = "127.45.0.90", "127.45.0.91", "127.45.0.92"


class Installation:
    """A machine with closedmail and Postfix on it, below one directory, and one example applied to it."""

    def __init__(self, directory: Path, example: str) -> None:
        self.directory, self.example = directory, example
        self.etc = directory / "closedmail"
        self.config = self.etc / "closedmail.toml"
        self.copy = directory / "postfix-examples"
        self.out_port = free_port()  # where partners' hosts listen, in place of 25
        self.smtp, self.submission, self.submissions, self.reinjection, self.haproxy, self.xclient = (
            free_port() for _ in range(6)
        )
        self.authority = Authority(directory / "ca")
        self.server = self.authority.issue("gateway.city.example", ["gateway.city.example"])
        self.client = self.authority.issue("gateway.city.example")
        self.klinik = self_signed(directory / "klinik", "mx.klinik.example")
        self.bank = self.authority.issue("mx.bank.example", ["mx.bank.example"])
        self.postfix = PrivatePostfix(
            directory / "postfix",
            # What the administrator of this machine had before.
            {
                "mydestination": "city.example, gateway.city.example",
                "smtp_tls_loglevel": "1",
                "smtpd_tls_chain_files": str(self.server.chain),
                "smtp_fallback_relay": f"[{FALLBACK}]:{self.out_port}",
                "smtpd_sasl_type": "dovecot",
                "smtpd_sasl_path": "private/auth",
                "smtpd_authorized_xclient_hosts": FILTER,
                "smtpd_policy_service_default_action": "DUNNO",
                "postscreen_greet_wait": "1s",
                "relay_domains": "region.example",
            },
            services=[f"127.0.0.1:{self.smtp} inet n - y - - smtpd"],  # chrooted, as Debian has it
            listeners=(),
        )
        self.outputs: dict[int, str] = {}
        self.reported = SmtpReply("connect", 0, "")
        self.table: dict[str, str] = {}
        self.stack = ExitStack()
        self.daemon = Daemon(self.config)

    def rewrite(self, text: str) -> str:
        """The text with everything replaced that the table names, in one pass."""
        return re.sub("|".join(map(re.escape, sorted(self.table, key=len, reverse=True))), self._replace, text)

    def _replace(self, found: re.Match[str]) -> str:
        return self.table[found[0]]

    def fill_table(self, list_url: str, signer: str) -> None:
        """What is another on this machine than in the examples."""
        self.table = {
            "/etc/postfix": str(self.postfix.etc),
            "/etc/closedmail": str(self.etc),
            "/etc/systemd/system": str(self.directory / "systemd"),
            "/var/lib/closedmail": str(self.directory / "state"),
            "/var/spool/postfix": str(self.postfix.queue_directory),
            "-o closedmail": "-o root",
            "EXAMPLE=netz-des-bundes": f"EXAMPLE={self.example}",
            # Listeners
            "smtp      inet": f"127.0.0.1:{self.smtp} inet",
            "smtp/inet": f"127.0.0.1:{self.smtp}/inet",
            "submission inet": f"127.0.0.1:{self.submission} inet",
            "submission/inet": f"127.0.0.1:{self.submission}/inet",
            "submissions inet": f"127.0.0.1:{self.submissions} inet",
            "127.0.0.1:10026": f"127.0.0.1:{self.reinjection}",
            "192.0.2.25:2525": f"127.0.0.1:{self.haproxy}",
            "192.0.2.25:2526": f"127.0.0.1:{self.xclient}",
            "192.0.2.80": FILTER,
            # Partners' hosts
            "port = 25": f"port = {self.out_port}",
            "203.0.113.20": "127.45.0.20",
            "203.0.113.30": "127.45.0.30",
            "203.0.113.40": "127.45.0.40",
            # For the administrator to fill in
            "https://lists.ndb.example/mailertable.asc": list_url,
            "0123456789ABCDEF0123456789ABCDEF01234567": signer,
            ":".join(["00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"] * 2): self.klinik.fingerprint,
            ":".join(["AA"] * 32): self.klinik.pubkey_fingerprint,
            ":".join(["BB"] * 32): self.bank.pubkey_fingerprint,
        }

    def copy_examples(self) -> None:
        for path in sorted(FOLDER.rglob("*")):
            if path.is_file():
                target = self.copy / path.relative_to(FOLDER)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(self.rewrite(path.read_text(encoding="utf-8")), encoding="utf-8")

    def make_programs(self) -> None:
        """`closedmail` with this installation's file, and a `systemctl` that knows how to reload Postfix."""
        closedmail = f'exec {shlex.quote(sys.executable)} -m closedmail --config {self.config} "$@"'
        systemctl = f'[ "$*" != "reload postfix" ] || exec postfix -c {self.postfix.etc} reload'
        for name, script in (("closedmail", closedmail), ("systemctl", systemctl)):
            program = self.directory / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)

    def shell(self, commands: str) -> str:
        """Run commands as the administrator would, in the folder of the examples; what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],  # noqa: S607  Debian's
            cwd=self.copy,
            env={
                "PATH": f"{self.directory}/bin:{SBIN}:/usr/bin:/bin",
                "PYTHONPATH": os.pathsep.join(filter(None, (str(NOWHERE), *sys.path))),
                "PARTNERS_HERE": "yes",
                "LC_ALL": "C.UTF-8",
                "MAIL_CONFIG": str(self.postfix.etc),
                "EXAMPLE": self.example,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    def readme(self, block: int) -> str:
        """Run one code block of the README; what it prints."""
        commands = blocks()[block]
        self.outputs[block] = self.shell(self.rewrite(commands))
        if "reload postfix" in commands:
            self.postfix.reload()  # this one waits until no old smtpd is left to answer
        return self.outputs[block]

    def put_certificates(self) -> None:
        files = {
            f"{folder}/{name}": source
            for folder in ("ndb", "partners")
            for name, source in {
                "ca.pem": self.authority.ca_file,
                "client.pem": self.client.certificate,
                "client.key": self.client.key,
                "klinik-client.pem": self.client.chain,
                "signing-keys.asc": self.directory / "signing-keys.asc",
            }.items()
        } | {"private/ndb.key": self.client.key}
        for name, source in files.items():
            (self.etc / name).parent.mkdir(exist_ok=True)
            shutil.copy(source, self.etc / name)

    def start_daemon(self) -> None:
        self.daemon = self.stack.enter_context(Daemon(self.config))

    def send(
        self,
        sender: str,
        client: str,
        *,
        recipient: str = OWN,
        port: int = 0,
        tls: bool = True,
        certificate: CertificateFiles | None = None,
    ) -> SmtpReply:
        """One mail from any client address, through the listener of port 25 unless told otherwise."""
        return deliver(
            "127.0.0.1",
            port or self.smtp,
            sender=sender,
            recipients=[recipient],
            source_address=FILTER,
            xclient={"ADDR": client},
            tls=tls,
            certificate=certificate.pair if certificate else None,
        )

    def sink(self, address: str, certificate: CertificateFiles | None = None, *, ask: bool = False) -> Sink:
        """A partner's host; `ask` for a client certificate."""
        pair = certificate.pair if certificate else None
        return Sink(address, self.out_port, certificate=pair, client_ca=self.authority.ca_file if ask else None)

    def submit(self, domain: str) -> str:
        recipient = f"office@{domain}"
        self.postfix.submit(OWN, [recipient])
        return recipient

    def wait_deferred(self, recipient: str, reason: str) -> None:
        self.postfix.wait_for_log(rf"to=<{re.escape(recipient)}>.*status=deferred \({reason}")


def blocks() -> list[str]:
    """The shell commands of the README."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    return [
        textwrap.dedent(found[1]) for found in re.finditer(r"^ *```sh\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    ]


@pytest.fixture(scope="module", params=[NDB, PARTNERS])
def gateway(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """The example, applied as the README says, in force and enforced."""
    require("root", "postfix", "openssl", "gpg")
    with ExitStack() as stack:
        # Others must be able to enter it, and a socket's path must be short.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="closedmail-")))
        directory.chmod(0o755)
        made = Installation(directory, str(request.param))
        stack.enter_context(made.stack)
        signer = Signer(directory / "gpg", "Network <list@ndb.example>")
        stack.callback(signer.stop)
        (directory / "signing-keys.asc").write_bytes(signer.public())
        lists = made.authority.issue("lists.ndb.example", ["localhost", "127.0.0.1"])
        https = HttpsServer(directory / "https", certificate=lists.pair, client_ca=made.authority.ca_file)
        https.answers["/mailertable.asc"] = Answer(body=signer.clearsign(LIST.encode()))
        stack.enter_context(https)
        made.fill_table(https.url("/mailertable.asc"), signer.fingerprint)
        made.make_programs()
        made.copy_examples()
        (directory / "systemd").mkdir()
        stack.enter_context(made.postfix)
        stack.enter_context(sasl_server(made.postfix.queue_directory / "private" / "auth"))
        print(apply(made))
        yield made
        print(made.postfix.log())


def apply(made: Installation) -> str:
    """Go through the README from the top to `enforce`."""
    made.readme(FILES)
    made.put_certificates()
    made.readme(SYNC)
    unit = (made.copy / "systemd" / "closedmail-policyd.socket").read_text()
    prepare = re.search(r"^ExecStartPre=(.*-g postfix.*)$", unit, re.MULTILINE)
    assert prepare
    made.shell(prepare[1])
    made.start_daemon()
    made.readme(HAD)
    made.readme(SET)
    for name in ("submission", "content-filter", "behind-a-filter"):
        made.shell(f"cat ways-in/{name}.cf >>{made.postfix.etc}/master.cf")
    # As Debian's lines for submission come.
    made.shell(made.rewrite("postconf -P submission/inet/smtpd_sender_restrictions="))
    made.readme(WAYS)
    made.readme(MEND)
    made.postfix.reload()
    made.readme(ASK)
    made.reported = made.send(PARTNER, STRANGER)
    made.readme(ENFORCE)
    return "".join(made.outputs.values())


@contextmanager
def sasl_server(path: Path) -> Iterator[None]:
    """Dovecot's authentication service, as far as smtpd asks: everybody may log in, with any password.

    Source: doc.dovecot.org, "Dovecot authentication protocol".
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        shutil.chown(path, "postfix")
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, connection.makefile("rw", encoding="ascii", newline="\n") as stream:
                stream.write("VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n")
                stream.flush()
                for line in stream:
                    verb, *words = line.rstrip("\n").split("\t")
                    if verb == "AUTH":
                        stream.write(f"OK\t{words[0]}\tuser=joe\n")
                        stream.flush()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


# What the files are


def test_every_table_entry_is_used(gateway: Installation) -> None:
    text = "".join(path.read_text() for path in FOLDER.rglob("*") if path.is_file())
    assert [key for key in gateway.table if key not in text] == []


def test_every_command_of_the_readme_is_run() -> None:
    assert len(blocks()) == POSTSCREEN + 1


def test_every_folder_and_file_is_in_the_readme() -> None:
    text = (FOLDER / "README.md").read_text()
    for path in FOLDER.iterdir():
        assert f"]({path.name})" in text or path.name == "README.md"
    for path in (FOLDER / "ways-in").iterdir():
        assert f"(ways-in/{path.name})" in text


@pytest.mark.parametrize("example", [NDB, PARTNERS])
def test_configuration_is_read_as_it_stands(example: str) -> None:
    config = load(FOLDER / example / "closedmail.toml")
    assert config.policyd.socket_group == "postfix"
    assert all(network.inbound.mode == "report" for network in config.networks)


@pytest.mark.real("systemd-analyze")
def test_systemd_likes_the_units(tmp_path: Path) -> None:
    program = tmp_path / "closedmail"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in (FOLDER / "systemd").iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace("ExecStart=closedmail", f"ExecStart={program}"))
    units = sorted(str(path) for path in tmp_path.glob("closedmail-*"))
    assert len(units) == 5
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", *units],  # noqa: S607  Debian's
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # What it says about other units of the machine is not ours.
    assert [line for line in done.stderr.splitlines() if "closedmail" in line] == []


# What the README's commands print


def test_postfix_has_nothing_to_warn_of(gateway: Installation) -> None:
    for command in ("postconf -n", "postconf -M", "postconf -P", "postfix check"):
        assert "warning" not in gateway.shell(command)
    assert gateway.shell("postfix check") == ""
    assert "warning" not in gateway.outputs[SET]
    complaints = [line for line in gateway.postfix.log().splitlines() if re.search(r"(fatal|panic|error): ", line)]
    assert complaints == []


def test_settings_are_those_of_the_example(gateway: Installation) -> None:
    wanted = gateway.shell("postconf -c $EXAMPLE -n | grep -v ^config_directory")
    # The last command of the README, which another test runs, adds one.
    assert set(wanted.splitlines()) <= set(gateway.shell("postconf -n").splitlines())


def test_listeners_without_the_check_are_found(gateway: Installation) -> None:
    assert gateway.outputs[WAYS].splitlines() == [
        f"127.0.0.1:{gateway.submission}/inet/smtpd_data_restrictions = $closedmail_check",
        f"127.0.0.1:{gateway.submission}/inet/smtpd_sender_restrictions =",
        f"127.0.0.1:{gateway.submissions}/inet/smtpd_data_restrictions = $closedmail_check",
        f"127.0.0.1:{gateway.submissions}/inet/smtpd_sender_restrictions = $closedmail_check",
        f"127.0.0.1:{gateway.reinjection}/inet/content_filter =",
        f"127.0.0.1:{gateway.reinjection}/inet/receive_override_options = no_header_body_checks,"
        "no_unknown_recipient_checks",
        f"127.0.0.1:{gateway.reinjection}/inet/smtpd_data_restrictions =",
        f"127.0.0.1:{gateway.reinjection}/inet/smtpd_sender_restrictions =",
    ]


def test_sync_and_explain_say_what_is_in_force(gateway: Installation) -> None:
    assert "Generation 1 is in force." in gateway.outputs[SYNC]
    asked = gateway.outputs[ASK]
    assert "werk.example" in asked
    transport, host = ("closedmail-ndb", "127.45.0.14") if gateway.example == NDB else ("closed", "127.45.0.40")
    assert f"\n{transport}:[{host}]:{gateway.out_port}\n" in asked
    assert "Generation 2 is in force." in gateway.outputs[ENFORCE]


def test_report_mode_accepts_and_logs(gateway: Installation) -> None:
    assert gateway.reported.accepted
    gateway.postfix.wait_for_log(rf"warn: RCPT from .*\[{re.escape(STRANGER)}\]: .*werk\.example")
    gateway.daemon.wait_for(r"network=\w+ partner=werk\.example verdict=report reason=address")


# Mail in, on every way


def test_port_25(gateway: Installation) -> None:
    assert gateway.send(PARTNER, PARTNER_CLIENT).accepted
    reply = gateway.send(PARTNER, STRANGER)
    assert (reply.stage, reply.code) == ("rcpt", 554)
    assert reply.text.startswith("5.7.1")
    assert STRANGER in reply.text
    assert gateway.send("someone@elsewhere.example", STRANGER).accepted
    assert gateway.send("", STRANGER).accepted


def test_postmaster_without_a_domain(gateway: Installation) -> None:
    assert gateway.send(PARTNER, PARTNER_CLIENT, recipient="postmaster").accepted
    reply = gateway.send(PARTNER, STRANGER, recipient="postmaster")
    assert (reply.stage, reply.code) == ("data", 554)


def test_nobody_may_relay_because_of_the_check(gateway: Installation) -> None:
    reply = gateway.send(PARTNER, PARTNER_CLIENT, recipient="a@elsewhere.example")
    assert (reply.stage, reply.code) == ("rcpt", 454)
    assert "Relay access denied" in reply.text


def test_relaying_through_a_filter_that_tells_nothing(gateway: Installation) -> None:
    reply = deliver("127.0.0.1", gateway.smtp, sender=PARTNER, recipients=[OWN], source_address="127.0.0.66", tls=True)
    assert (reply.stage, reply.code) == ("rcpt", 554)
    assert "127.0.0.66" in reply.text


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("login", [False, True])
def test_submission(gateway: Installation, wrapped: bool, login: bool) -> None:
    context = ssl.create_default_context(cafile=str(gateway.authority.ca_file))
    context.check_hostname = False
    if wrapped:
        client: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", gateway.submissions, timeout=20, context=context)
    else:
        client = smtplib.SMTP("127.0.0.1", gateway.submission, timeout=20)
        client.starttls(context=context)
    with client:
        if login:
            assert client.login("joe", "secret")[0] == 235
        assert refusal(client, OWN, OWN) == (250 if login else 554)
        client.rset()
        # Whoever has logged in is a user, and may not write as a partner.
        assert refusal(client, PARTNER, OWN) == 554
        client.rset()
        assert refusal(client, PARTNER, "postmaster") == 554
        client.rset()
        assert refusal(client, OWN, "postmaster") == 250


def test_reinjection_passes_without_a_second_check(gateway: Installation) -> None:
    def asked(client: str) -> int:
        """How often policyd was asked until now; `client` marks the moment in its log."""
        gateway.send(PARTNER, client)
        gateway.daemon.wait_for(rf"client={re.escape(client)} ")
        return [line["client"] for line in gateway.daemon.verdicts()].index(client)

    before = asked("203.0.113.71")
    reply = deliver("127.0.0.1", gateway.reinjection, sender=PARTNER, recipients=[OWN, "postmaster"])
    assert reply.accepted
    assert asked("203.0.113.72") == before + 1  # the mark's own


def test_behind_a_proxy(gateway: Installation) -> None:
    for client, expected in ((PARTNER_CLIENT, 250), (STRANGER, 554)):
        with socket.create_connection(("127.0.0.1", gateway.haproxy), timeout=20) as connection:
            connection.sendall(f"PROXY TCP4 {client} 192.0.2.25 40000 25\r\n".encode())
            smtp = smtplib.SMTP(timeout=20)
            smtp.sock = connection
            assert smtp.getreply()[0] == 220
            context = ssl.create_default_context(cafile=str(gateway.authority.ca_file))
            smtp._host = "gateway.city.example"  # type: ignore[attr-defined]
            smtp.starttls(context=context)
            assert refusal(smtp, PARTNER, OWN) == expected
            smtp.close()


def test_behind_a_filter_that_speaks_xclient(gateway: Installation) -> None:
    assert gateway.send(PARTNER, PARTNER_CLIENT, port=gateway.xclient).accepted
    assert gateway.send(PARTNER, STRANGER, port=gateway.xclient).code == 554
    # Not everybody is believed.
    reply = deliver(
        "127.0.0.1",
        gateway.xclient,
        sender=PARTNER,
        recipients=[OWN],
        source_address="127.0.0.66",
        xclient={"ADDR": PARTNER_CLIENT},
        tls=True,
    )
    assert (reply.stage, reply.code) == ("xclient", 550)


def test_no_answer_is_no_permission(gateway: Installation) -> None:
    assert gateway.daemon.stop() == 0
    try:
        for recipient, stage in ((OWN, "rcpt"), ("postmaster", "data")):
            reply = gateway.send(PARTNER, STRANGER, recipient=recipient)
            assert (reply.stage, reply.code) == (stage, 451)
            assert "The check for closed networks does not answer" in reply.text
    finally:
        gateway.start_daemon()
    assert gateway.send(PARTNER, PARTNER_CLIENT).accepted


@ndb_only
def test_members_of_the_network(gateway: Installation) -> None:
    assert gateway.send("a@koeln.example", "2001:db8:25::1", tls=False).accepted
    assert gateway.send("a@koeln.example", STRANGER, tls=False).code == 554
    assert gateway.send("a@polizei.example", PARTNER_CLIENT).accepted
    assert gateway.send("a@polizei.example", PARTNER_CLIENT, tls=False).code == 554
    assert gateway.send("a@deep.intern.ndb.example", STRANGER).code == 554


@partners_only
def test_partners_with_certificates(gateway: Installation) -> None:
    klinik, bank = gateway.klinik, gateway.bank
    wrong = self_signed(gateway.directory / "wrong", "mx.klinik.example")
    assert gateway.send("a@klinik.example", STRANGER, certificate=klinik).accepted
    assert gateway.send("a@klinik.example", STRANGER, certificate=wrong).code == 554
    assert gateway.send("a@klinik.example", STRANGER).code == 554
    assert gateway.send("a@bank.example", "198.51.100.30", certificate=bank).accepted
    assert gateway.send("a@bank.example", "2001:db8:30::1", certificate=bank).accepted
    assert gateway.send("a@bank.example", STRANGER, certificate=bank).code == 554
    assert gateway.send("a@bank.example", "198.51.100.30", certificate=klinik).code == 554
    assert gateway.send("a@deep.werk.example", PARTNER_CLIENT).accepted
    assert gateway.send("a@deep.werk.example", STRANGER).code == 554
    assert gateway.send("a@werk.example", PARTNER_CLIENT, tls=False).code == 554


@partners_only
def test_the_log_tells_replay_all_that_it_asks(gateway: Installation) -> None:
    """Certificates and TLS among it."""
    before = replayed(gateway, "before")
    assert gateway.send("a@klinik.example", STRANGER, certificate=gateway.klinik).accepted
    assert gateway.send("a@klinik.example", STRANGER, certificate=gateway.bank).code == 554
    assert gateway.send("a@werk.example", PARTNER_CLIENT).accepted
    report = replayed(gateway, "after")
    for key in ("klinik.example", "werk.example"):
        partner, was = report["partners"][key], before["partners"].get(key, {"accept": 0, "reject": 0})
        assert (partner["accept"], partner["reject"], partner["unknown"]) == (was["accept"] + 1, was["reject"], 0)
    shown = {each["pubkey_fingerprint"] for each in report["partners"]["klinik.example"]["certificates"]}
    assert shown == {gateway.klinik.pubkey_fingerprint.replace(":", "").lower()}


def replayed(gateway: Installation, mark: str) -> dict[str, Any]:
    """What `closedmail replay` says of the log, once all that happened before is in it."""
    assert gateway.send(f"{mark}@elsewhere.example", STRANGER).accepted
    gateway.postfix.wait_for_log(rf"qmgr.*from=<{mark}@elsewhere\.example>")
    deadline = time.monotonic() + 10
    while True:
        begun, ended = (gateway.postfix.log().count(f": {word} from ") for word in ("connect", "disconnect"))
        if begun == ended:
            break
        assert time.monotonic() < deadline, f"{begun} sessions have begun, {ended} have ended"
        time.sleep(0.05)
    report: dict[str, Any] = json.loads(gateway.shell(f"closedmail replay --json {gateway.postfix.log_file}"))
    return report


# Mail out


def test_encrypt_waits_until_tls_is_offered(gateway: Installation) -> None:
    domain, address = ("polizei.example", "127.45.0.12") if gateway.example == NDB else ("werk.example", "127.45.0.40")
    with gateway.sink(address) as bare:
        gateway.wait_deferred(gateway.submit(domain), "TLS is required, but was not offered")
        assert bare.mails == []
    with gateway.sink(address, gateway.server) as sink:
        gateway.postfix.flush()
        (mail,) = sink.wait()
    assert mail.recipients == (f"office@{domain}",)
    assert mail.tls


@ndb_only
def test_may_goes_as_it_can(gateway: Installation) -> None:
    with gateway.sink("127.45.0.11") as bare, gateway.sink("127.45.0.13", gateway.server) as sink:
        gateway.submit("koeln.example")
        gateway.submit("bonn.example")
        assert [mail.tls for mail in bare.wait()] == [""]
        assert sink.wait()[0].tls
    gateway.postfix.wait_for_log(r"postfix/closedmail-ndb/smtp\[\d+\]: .*to=<office@koeln\.example>.*status=sent")


@partners_only
def test_the_closed_transport_shows_its_certificate(gateway: Installation) -> None:
    with gateway.sink("127.45.0.20", gateway.klinik, ask=True) as sink:
        gateway.submit("klinik.example")
        (mail,) = sink.wait()
    assert mail.client_fingerprint == gateway.client.fingerprint
    gateway.postfix.wait_for_log("Verified TLS connection established to 127.45.0.20")


@partners_only
def test_another_partner_sees_no_certificate_and_shows_its_name(gateway: Installation) -> None:
    with gateway.sink("127.45.0.30", gateway.server, ask=True) as impostor:
        gateway.wait_deferred(gateway.submit("bank.example"), "Server certificate not verified")
        assert impostor.mails == []
    with gateway.sink("127.45.0.30", gateway.bank, ask=True) as sink:
        gateway.postfix.flush()
        (mail,) = sink.wait()
    assert (bool(mail.tls), mail.client_fingerprint) == (True, "")


def test_partners_mail_takes_no_fallback_relay(gateway: Installation) -> None:
    domain, address = ("dead.example", "127.45.0.15") if gateway.example == NDB else ("bank.example", "127.45.0.30")
    with own_rows(gateway, f"elsewhere.example smtp:[{DEAD_HOST}]:{gateway.out_port}"), gateway.sink(FALLBACK) as sink:
        recipient = gateway.submit(domain)
        gateway.submit("elsewhere.example")
        (mail,) = sink.wait()
        assert mail.recipients == ("office@elsewhere.example",)
        gateway.wait_deferred(recipient, f"connect to {re.escape(address)}.*Connection refused")
        gateway.postfix.flush()
        time.sleep(0.5)
        assert len(sink.mails) == 1


def test_the_own_transport_table_comes_first(gateway: Installation) -> None:
    domain = "bonn.example" if gateway.example == NDB else "klinik.example"
    with own_rows(gateway, f"{domain} smtp:[{OWN_HOST}]:{gateway.out_port}"), gateway.sink(OWN_HOST) as sink:
        recipient = gateway.submit(domain)
        assert [mail.recipients for mail in sink.wait()] == [(recipient,)]


@contextmanager
def own_rows(gateway: Installation, row: str) -> Iterator[None]:
    """A row in the administrator's own transport table for a while."""
    own = gateway.postfix.etc / "transport"
    table = f"{gateway.shell('postconf -h default_database_type').strip()}:{own}"
    try:
        own.write_text(f"{row}\n")
        gateway.postfix.postmap(table)
        gateway.postfix.reload()
        yield
    finally:
        own.write_text("")
        gateway.postfix.postmap(table)
        gateway.postfix.reload()


# What the README says besides


@ndb_only
def test_a_partner_below_a_relay_domain(gateway: Installation) -> None:
    arguments = ("someone@elsewhere.example", STRANGER)
    assert gateway.send(*arguments, recipient="a@police.region.example").accepted
    gateway.readme(SUBDOMAINS)
    assert gateway.send(*arguments, recipient="a@police.region.example").code == 454
    # The domain itself is still relayed for: this Postfix has no route to it, but does not deny it.
    assert gateway.send(*arguments, recipient="a@region.example").text.startswith("5.4.4")
    assert "warning" not in gateway.shell("postconf -n")


def test_postscreen(gateway: Installation) -> None:
    gateway.readme(POSTSCREEN)
    assert gateway.shell("postfix check") == ""
    for recipient in (OWN, "postmaster"):
        assert gateway.send(PARTNER, PARTNER_CLIENT, recipient=recipient).accepted
        assert gateway.send(PARTNER, STRANGER, recipient=recipient).code == 554
    assert "postscreen" in gateway.postfix.log()


def refusal(client: smtplib.SMTP, sender: str, recipient: str) -> int:
    """The code of the first refusal, or 250."""
    client.ehlo_or_helo_if_needed()
    code, _ = client.docmd("MAIL", f"FROM:<{sender}>")
    if code == 250:
        code, _ = client.docmd("RCPT", f"TO:<{recipient}>")
    if code == 250:
        code, _ = client.docmd("DATA")
    if code == 354:
        client.send(b"Subject: test\r\n\r\ntest\r\n.\r\n")
        code, _ = client.getreply()
    return code
