"""An MTA with the milter that it asks, as the tests of the milter see it."""

import re
import smtplib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from closedmail.demo.smtp_client import SmtpReply
from support import milter_table as table
from support.daemon import Daemon
from support.milter_table import Clients, Mail


class MilterMta(ABC):
    """What it accepts waits in its queue. `recipient` is one that it has."""

    recipient = "office@city.example"

    def __init__(self, daemon: Daemon, clients: Clients) -> None:
        self.daemon, self.clients = daemon, clients

    @abstractmethod
    def send(self, sender: str, client: str, **options: object) -> SmtpReply:
        """One mail, as if it came from that client address."""

    @abstractmethod
    def queued(self, reply: SmtpReply) -> list[str]:
        """The header lines of a mail that was queued, unfolded."""

    def logged(self, before: int, wanted: int = 1) -> list[str]:
        """Verdict and reason of the lines that came since then: as many as are wanted, if they come."""
        deadline = time.monotonic() + 5
        while len(lines := self.daemon.verdicts()) < before + wanted and time.monotonic() < deadline:
            time.sleep(0.005)
        return [f"{line['verdict']} {line['reason']}" for line in lines[before:]]

    def check(self, mail: Mail, said: str, marked: str) -> None:
        """Send one of the table and see that it is answered, logged and marked so."""
        before = len(self.daemon.verdicts())
        data = f"{mail.fields}Subject: a test\r\n\r\nA test.\r\n".encode()
        pair = self.clients.shown[mail.shown].pair if mail.shown else None
        reply = self.send(mail.sender, mail.client, tls=mail.tls, certificate=pair, data=data)
        sent = (mail, reply)
        assert reply.code == table.CODES[said.partition(" ")[0]], sent
        if said:
            assert self.logged(before)[-1] == said, sent
        else:
            assert self.daemon.verdicts()[before:] == [], sent
        if reply.accepted:
            marks = [line for line in self.queued(reply) if line.startswith("Authentication-Results:")]
            network = "everyone.example" if "everyone" in marked else "ndb"
            assert marks == ([table.mark(marked, network)] if marked else []), sent
        else:
            status = {550: "5.7.1", 451: "4.7.1"}[reply.code]
            assert reply.stage == ("message" if mail.fields else "rcpt"), sent
            where = " in its From: or Sender: header" if mail.fields else ""
            assert re.match(
                rf"{status} (<{self.recipient}>\.\.\. )?Mail from \S+{where} is accepted through \S+ only: ", reply.text
            ), sent

    def check_forged(self, sender: str, client: str, marks: Sequence[str]) -> None:
        """Forged marks go, other results stay, and ours is on top."""
        data = table.FORGED.replace("\n", "\r\n").encode() + b"\r\nA test.\r\n"
        lines = self.queued(self.send(sender, client, data=data))
        assert [line for line in lines if "authentication-" in line.lower()] == [*marks, *table.LEFT]
        if marks:
            assert lines[0] == marks[0]

    def deliver_in(self, client: smtplib.SMTP, sender: str, header: bytes = b"") -> int:
        """One mail in a session: the code that decides."""
        client.docmd("MAIL", f"FROM:<{sender}>")
        code = client.docmd("RCPT", f"TO:<{self.recipient}>")[0]
        if code != 250:
            client.docmd("RSET")
            return code
        assert client.docmd("DATA")[0] == 354
        client.send(header + b"Subject: one of several\r\n\r\nA test.\r\n.\r\n")
        return client.getreply()[0]

    def check_session(self, client: smtplib.SMTP) -> None:
        """Several mails of a session from WRONG, twice; each is logged once."""
        before = len(self.daemon.verdicts())
        for _ in range(2):
            for sender, author, code in table.SESSION:
                header = f"From: {author}\r\n".encode() if author else b""
                assert self.deliver_in(client, sender, header) == code, (sender, author)
            client.docmd("MAIL", f"FROM:<{table.P}>")
            client.docmd("RSET")
        assert len(self.logged(before, 10)) == 10
        assert len({line["instance"] for line in self.daemon.verdicts()[before:]}) == 10
