"""The milter asked by a running Sendmail: the table that Postfix has, and what Sendmail alone tells or does.

Mail comes from addresses that the machine has on its loopback interface; what is accepted stays in the queue.
"""

import re
import signal
import smtplib
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from support import milter_table as table
from support.daemon import Daemon
from support.header_corpus import CORPUS, NOT_FOR_MTAS
from support.machines.sendmail import HEAD, MAILERS, Sendmail
from support.machines.tree import NEEDS, Machine
from support.milter_mta import MilterMta
from support.milter_table import RIGHT, STRANGER, TABLE, TEXTS, WRONG, Clients, P, make_clients
from support.real import require

from closedmail.demo.smtp_client import SmtpReply, deliver

pytestmark = pytest.mark.real(*NEEDS, "openssl")

SOCKET = "/run/closedmail.sock"


def mc(clients: Clients) -> str:
    server = f"/etc/mail/tls/{clients.server.chain.name}"
    return f"""{HEAD}
define(`confDELIVERY_MODE', `queue')
define(`confCACERT_PATH', `/etc/mail/tls')
define(`confCACERT', `/etc/mail/tls/{clients.authority.ca_file.name}')
define(`confSERVER_CERT', `{server}')
define(`confSERVER_KEY', `{server}')
define(`confCERT_FINGERPRINT_ALGORITHM', `sha256')
DAEMON_OPTIONS(`Name=MTA6, Family=inet6, Addr=::1, Port=25')
INPUT_MAIL_FILTER(`closedmail', `S=unix:{SOCKET}, F=T, T=C:10s;S:10s;R:20s;E:60s')
{MAILERS}"""


class FrontEnd(MilterMta):
    """A machine with Sendmail and the milter."""

    recipient = "root@city.example"

    def __init__(self, machine: Machine, sendmail: Sendmail, daemon: Daemon, clients: Clients) -> None:
        super().__init__(daemon, clients)
        self.machine, self.sendmail = machine, sendmail

    def send(self, sender: str, client: str, **options: object) -> SmtpReply:
        recipients = options.pop("rcpt", [self.recipient])
        call = partial(
            deliver,
            "::1" if ":" in client else "127.0.0.1",
            25,
            sender=sender,
            recipients=recipients,  # type: ignore[arg-type]
            source_address=client,
            **options,  # type: ignore[arg-type]
        )
        return self.machine.call(call)

    def queued(self, reply: SmtpReply) -> list[str]:
        assert reply.accepted, reply
        queue_id = reply.text.split()[1]
        raw = (self.machine.root / f"var/spool/mqueue/qf{queue_id}").read_text("utf-8", "replace")
        text = re.sub(r"\n[ \t]+", " ", raw)
        # Return-Path stands first in the file, and is written at delivery only.
        found = re.findall(r"^H\?[^?]*\?(.*)$", text, re.MULTILINE)
        return [line for line in found if not line.startswith("Return-Path:")]

    def session(self, client: str) -> smtplib.SMTP:
        """A session as that client's."""
        session = self.machine.call(partial(smtplib.SMTP, "127.0.0.1", 25, timeout=30, source_address=(client, 0)))
        session.ehlo("client.example")
        return session


def start_milter(machine: Machine) -> Daemon:
    return Daemon(Path("/srv/closedmail.toml"), command="milter", python=machine.command(*machine.python()))


@pytest.fixture(scope="module")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    require(*NEEDS, "openssl")
    clients = make_clients(tmp_path_factory.mktemp("certificates"))
    with ExitStack() as stack:
        machine = stack.enter_context(Machine())
        for address in table.CLIENTS:
            add = ["nsenter", f"--net={machine.root.parent}/ns/net", "ip", "address", "add", address, "dev", "lo"]
            subprocess.run([*add, *(["nodad"] if ":" in address else [])], check=True)
        machine.copy([clients.server.chain, clients.authority.ca_file], "/etc/mail/tls")
        (machine.root / f"etc/mail/tls/{clients.server.chain.name}").chmod(0o600)
        text, lines = table.write_gateway(clients, "/srv", f"unix:{SOCKET}")
        machine.write("/srv/closedmail.toml", text)
        machine.write("/srv/list", lines)
        machine.closedmail("/srv/closedmail.toml", "sync")
        daemon = stack.enter_context(start_milter(machine))
        sendmail = stack.enter_context(Sendmail(machine, mc(clients)))
        yield FrontEnd(machine, sendmail, daemon, clients)
        print(sendmail.log.text())


def test_table(front_end: FrontEnd) -> None:
    for mail in TABLE:
        said = mail.said if mail.sendmail is None else mail.sendmail
        domain = mail.sender.rpartition("@")[2]
        front_end.check(mail, said, mail.marked or (domain if mail.sendmail == table.OK else ""))


@pytest.mark.parametrize("mode", ["enforce", "defer"])
@pytest.mark.parametrize("name", TEXTS)
def test_reject_text(front_end: FrontEnd, name: str, mode: str) -> None:
    reply = front_end.send(f"u@{name}.{mode}.example", WRONG)
    # Sendmail names the recipient in permanent answers, and knows no characters but ASCII.
    status = {"enforce": f"5.7.1 <{front_end.recipient}>...", "defer": "4.7.1"}[mode]
    text = TEXTS[name][1].replace("MODE", mode).encode("ascii", "replace").decode()
    assert reply.text == f"{status} {text}"


# What Sendmail queues as koeln.example's, or hands on so that a later hop may.
SPELLINGS = [
    *("<u@koeln.example>", "Office <u@koeln.example>", "u(a)@koeln.example", "u@koeln. example", "u@koeln\\.example"),
    *('"koeln.example!u"', "u%koeln.example%gateway.city.example", "u%koeln.example@city.example", "u@koeln.example@"),
    *("@city.example:u@koeln.example", "koeln.example!stranger.example!u", 'u@"koeln.example"', "u@köln.example"),
]


@pytest.mark.parametrize("sender", SPELLINGS)
def test_spellings_that_sendmail_understands(front_end: FrontEnd, sender: str) -> None:
    reply = front_end.send(sender, WRONG)
    assert (reply.stage, reply.code) == ("rcpt", 550), reply
    assert front_end.send(sender, RIGHT).accepted


def test_a_sender_that_is_not_utf8_waits(front_end: FrontEnd) -> None:
    reply = front_end.send("u@k\udcf6ln.example", RIGHT)
    assert (reply.stage, reply.code, reply.text) == ("rcpt", 451, "4.7.1 The domain of this sender can't be read")


def test_hostile_headers(front_end: FrontEnd) -> None:
    """In one session, for the time that a new one takes."""
    with front_end.session(WRONG) as client:
        for hostile in CORPUS:
            refused = hostile.refused if hostile.sendmail is None else hostile.sendmail
            assert front_end.deliver_in(client, STRANGER, hostile.header) == (550 if refused else 250), hostile.name
    with front_end.session(RIGHT) as client:
        for hostile in CORPUS:
            assert front_end.deliver_in(client, P, hostile.header) == 250, hostile.name


def test_headers_that_sendmail_changes(front_end: FrontEnd) -> None:
    for hostile in NOT_FOR_MTAS:
        reply = front_end.send(STRANGER, WRONG, data=hostile.header + b"\r\nA test.\r\n")
        assert reply.code in (550, 250, 421, 552, 554), (hostile.name, reply)
    assert "Traceback" not in front_end.daemon.log()


def test_several_mails_in_one_session(front_end: FrontEnd) -> None:
    with front_end.session(WRONG) as client:
        front_end.check_session(client)


def test_forged_marks(front_end: FrontEnd) -> None:
    front_end.check_forged(P, RIGHT, [table.mark("koeln.example")])
    for sender, client in ((STRANGER, WRONG), ("", WRONG), (P, table.TRUSTED)):
        front_end.check_forged(sender, client, [])


def test_the_log_has_the_queue_id(front_end: FrontEnd) -> None:
    reply = front_end.send(P, RIGHT)
    assert front_end.daemon.wait_for(rf"instance={reply.text.split()[1]} generation=\d+ door=milter$")


def test_a_header_name_of_other_bytes(front_end: FrontEnd) -> None:
    """It ends the header, for Sendmail as for Postfix: what comes behind it is the body."""
    odd, author = b"X-\xf6: a\r\nFR\xd6M: a\r\n", b"From: u@koeln.example\r\n"
    with front_end.session(WRONG) as client:
        assert front_end.deliver_in(client, STRANGER, author + odd) == 550
        assert front_end.deliver_in(client, STRANGER, odd + author) == 250
    assert "From: u@stranger.example" in front_end.queued(front_end.send(STRANGER, WRONG, data=odd + author + b"\r\n"))


def test_restarts_lose_no_mail(front_end: FrontEnd) -> None:
    """With F=T: 4xx while nobody answers, and the right answers from the next daemon at once."""
    assert front_end.daemon.stop() == 0
    assert not (front_end.machine.root / SOCKET.lstrip("/")).exists()
    for sender, client in ((P, RIGHT), (P, WRONG), (STRANGER, WRONG)):
        reply = front_end.send(sender, client)
        assert reply.code in range(400, 500), reply
    with start_milter(front_end.machine) as daemon:
        assert front_end.send(P, RIGHT).accepted
        assert front_end.send(P, WRONG).code == 550
        session = front_end.session(WRONG)
        session.docmd("MAIL", f"FROM:<{STRANGER}>")
        assert session.docmd("RCPT", f"TO:<{front_end.recipient}>")[0] == 250
        daemon.signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while (front_end.machine.root / SOCKET.lstrip("/")).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with start_milter(front_end.machine):
            # The message under way is still the first one's.
            session.docmd("DATA")
            session.send(b"From: u@koeln.example\r\n\r\nA test.\r\n.\r\n")
            assert session.getreply()[0] == 550
            session.close()
            assert daemon.wait() == 0
            assert front_end.send(P, RIGHT).accepted
