"""The milter asked by a running Postfix: what the client reads, what is queued, what is logged and counted."""

import json
import os
import re
import shutil
import signal
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import milter_table as table
from support.daemon import Daemon, closedmail
from support.header_corpus import CORPUS, NOT_FOR_MTAS, Hostile
from support.milter_mta import MilterMta
from support.milter_table import RIGHT, STRANGER, TABLE, TEXTS, WRONG, Clients, P, make_clients
from support.private_postfix import PrivatePostfix
from support.real import require

from closedmail.demo.smtp_client import SmtpReply, deliver

pytestmark = pytest.mark.real("root", "postfix", "postfix-lmdb", "openssl")


class FrontEnd(MilterMta):
    """A Postfix and the milter."""

    def __init__(self, config: Path, daemon: Daemon, postfix: PrivatePostfix, clients: Clients) -> None:
        super().__init__(daemon, clients)
        self.config, self.postfix = config, postfix

    def send(self, sender: str, client: str, **options: object) -> SmtpReply:
        return deliver(
            self.postfix.address,
            self.postfix.port,
            sender=sender,
            recipients=options.pop("rcpt", [self.recipient]),  # type: ignore[arg-type]
            xclient={"ADDR": client, "NAME": "[UNAVAILABLE]"},
            **options,  # type: ignore[arg-type]
        )

    def queued(self, reply: SmtpReply) -> list[str]:
        assert reply.accepted, reply
        queue_id = reply.text.split()[-1]
        command = ["postcat", "-c", str(self.postfix.etc), "-hq", queue_id]
        text = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8", "replace")
        return re.sub(r"\n[ \t]+", " ", text).splitlines()

    def session(self, client: str) -> smtplib.SMTP:
        """A session as that client's."""
        session = smtplib.SMTP(self.postfix.address, self.postfix.port, timeout=30)
        session.ehlo("client.example")
        assert session.docmd("XCLIENT", f"ADDR={client} NAME=[UNAVAILABLE]")[0] == 220
        session.ehlo("client.example")
        return session


@pytest.fixture(scope="module")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    require("root", "postfix", "postfix-lmdb", "openssl")
    folder = Path(tempfile.mkdtemp(prefix="closedmail-"))
    folder.chmod(0o755)
    clients = make_clients(tmp_path_factory.mktemp("certificates"))
    config = folder / "closedmail.toml"
    text, lines = table.write_gateway(clients, str(folder), f"unix:{folder}/milter.sock")
    config.write_text(text)
    (folder / "list").write_text(lines)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        assert closedmail("sync", config=config).status == 0
        daemon = stack.enter_context(Daemon(config, command="milter"))
        postfix = stack.enter_context(
            PrivatePostfix(
                folder / "postfix",
                {
                    "smtpd_milters": daemon.where[0],
                    "milter_default_action": "tempfail",
                    "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
                    "smtpd_tls_security_level": "may",
                    "smtpd_tls_chain_files": str(clients.server.chain),
                    "smtpd_tls_CAfile": str(clients.authority.ca_file),
                    "smtpd_tls_ask_ccert": "yes",
                    "local_header_rewrite_clients": "",  # else it mends headers before we see them
                    "local_transport": "smtp:[127.0.0.1]:9",  # nobody listens
                },
            )
        )
        yield FrontEnd(config, daemon, postfix, clients)
        print(postfix.log())


def test_table(front_end: FrontEnd) -> None:
    for mail in TABLE:
        front_end.check(mail, mail.said, mail.marked)


@pytest.mark.parametrize("mode", ["enforce", "defer"])
@pytest.mark.parametrize("name", TEXTS)
def test_reject_text(front_end: FrontEnd, name: str, mode: str) -> None:
    reply = front_end.send(f"u@{name}.{mode}.example", WRONG)
    status = {"enforce": "5.7.1", "defer": "4.7.1"}[mode]
    assert reply.text == f"{status} {TEXTS[name][1].replace('MODE', mode)}"


def test_smtputf8(front_end: FrontEnd) -> None:
    for sender in ("u@köln.example", "ü@KÖLN.example", "u@köln\u3002example"):
        assert front_end.send(sender, WRONG, smtputf8=True).code == 550
        assert front_end.send(sender, RIGHT, smtputf8=True).accepted


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_hostile_headers(front_end: FrontEnd, hostile: Hostile) -> None:
    refused = hostile.refused if hostile.postfix is None else hostile.postfix
    reply = front_end.send(STRANGER, WRONG, data=hostile.header + b"\r\nA test.\r\n")
    assert (reply.stage, reply.code) == ("message", 550 if refused else 250), reply
    if refused:
        assert re.search(r"Mail from (koeln|xn--kln-sna)\.example in its From: or Sender: header", reply.text)


def test_headers_that_postfix_changes(front_end: FrontEnd) -> None:
    """No verdict of ours fails on them, whatever is left of them."""
    for hostile in NOT_FOR_MTAS:
        reply = front_end.send(STRANGER, WRONG, data=hostile.header + b"\r\nA test.\r\n")
        assert (reply.stage, reply.code) in (("message", 550), ("message", 250)), (hostile.name, reply)
    assert "Traceback" not in front_end.daemon.log()


def test_partners_may_write_such_headers(front_end: FrontEnd) -> None:
    """In one session, from the right address: each is judged by itself, and all pass."""
    with front_end.session(RIGHT) as client:
        for hostile in CORPUS:
            assert front_end.deliver_in(client, P, hostile.header) == 250, hostile.name


def test_several_mails_in_one_session(front_end: FrontEnd) -> None:
    with front_end.session(WRONG) as client:
        front_end.check_session(client)


def test_all_recipients_are_refused(front_end: FrontEnd) -> None:
    """Also postmaster, for whom Postfix skips what is in smtpd_sender_restrictions."""
    before = len(front_end.daemon.verdicts())
    reply = front_end.send(P, WRONG, rcpt=["TO:<postmaster>"])
    assert (reply.stage, reply.code) == ("rcpt", 550)
    assert front_end.logged(before) == ["reject address"]
    with smtplib.SMTP(front_end.postfix.address, front_end.postfix.port, timeout=30) as client:
        client.ehlo("client.example")
        client.docmd("MAIL", f"FROM:<{P}>")
        for name in ("a", "b", "postmaster"):
            assert client.docmd("RCPT", f"TO:<{name}@city.example>")[0] == 550
    assert front_end.logged(before, 2) == ["reject address"] * 2


def test_forged_marks(front_end: FrontEnd) -> None:
    """They go from every message, also where ours is added; other results stay."""
    front_end.check_forged(P, RIGHT, [table.mark("koeln.example")])
    for sender, client in ((STRANGER, WRONG), ("", WRONG), (P, table.TRUSTED)):
        front_end.check_forged(sender, client, [])


def test_a_login_is_not_asked(front_end: FrontEnd) -> None:
    login = {"ADDR": WRONG, "NAME": "[UNAVAILABLE]", "LOGIN": "joe"}
    reply = deliver(
        front_end.postfix.address, front_end.postfix.port, sender=P, recipients=["office@city.example"], xclient=login
    )
    assert reply.accepted


def test_a_client_without_address_is_not_let_in(front_end: FrontEnd) -> None:
    """libmilter closes the connection when Postfix can't tell the address, and Postfix does its default."""
    assert front_end.send(P, "[UNAVAILABLE]").code == 451


def test_a_new_generation_and_no_store(front_end: FrontEnd) -> None:
    folder = front_end.config.parent
    listed = (folder / "list").read_text()
    assert front_end.send("u@new.example", WRONG).accepted
    (folder / "list").write_text(f"{listed}new.example esmtp:[192.0.2.77]\n")
    assert closedmail("sync", config=front_end.config).status == 0
    assert front_end.send("u@new.example", WRONG).code == 550
    store, away = folder / "state" / "store", folder / "away"
    store.rename(away)
    try:
        for sender in (P, STRANGER, ""):
            reply = front_end.send(sender, RIGHT)
            assert (reply.stage, reply.code, reply.text[:6]) == ("rcpt", 451, "4.7.1 ")
    finally:
        away.rename(store)
    assert front_end.send(P, RIGHT).accepted
    front_end.daemon.wait_for(
        r"no generation is in force yet; run: closedmail --config \S+ sync: all mail is deferred$"
    )
    front_end.daemon.wait_for(r"^policy store is back, generation=\d+$")


def test_restarts_lose_no_mail(front_end: FrontEnd) -> None:
    """Stopped, killed and started again: 4xx meanwhile, and Postfix finds the new one by itself."""
    folder = front_end.config.parent
    where = f"unix:{folder}/again.sock"
    with ExitStack() as stack:
        first = stack.enter_context(Daemon(front_end.config, "--listen", where, command="milter"))
        parameters = {
            "smtpd_milters": where,
            "milter_default_action": "tempfail",
            "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
        }
        again = FrontEnd(
            front_end.config,
            first,
            stack.enter_context(PrivatePostfix(folder / "again", parameters)),
            front_end.clients,
        )
        assert again.send(P, RIGHT).accepted
        assert first.stop() == 0
        assert not Path(f"{folder}/again.sock").exists()
        for client in (RIGHT, WRONG):
            reply = again.send(P, client)
            assert (reply.code, reply.accepted) == (451, False), reply
        second = Daemon(front_end.config, "--listen", where, command="milter")
        stack.callback(second.kill)
        second.__enter__()
        assert again.send(P, RIGHT).accepted
        assert again.send(P, WRONG).code == 550
        # A process of libmilter's that is killed is started again; so it is after a second time.
        for times in (1, 2):
            for child in Path(f"/proc/{second.pid}/task/{second.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            second.wait_for(r"^error: the process at .* has ended", times)
            deadline = time.monotonic() + 10
            while (reply := again.send(P, WRONG)).code != 550 and time.monotonic() < deadline:
                assert reply.code == 451
                time.sleep(0.1)
            assert reply.code == 550
            assert again.send(P, RIGHT).accepted
        second.process.kill()  # the parent alone: its processes must not stay
        second.wait()
        deadline = time.monotonic() + 10
        while again.send(P, RIGHT).accepted and time.monotonic() < deadline:
            time.sleep(0.1)
        assert again.send(P, RIGHT).code == 451
        stack.enter_context(Daemon(front_end.config, "--listen", where, command="milter"))
        assert again.send(P, RIGHT).accepted


def test_messages_under_way_end_after_sigterm(front_end: FrontEnd) -> None:
    folder = front_end.config.parent
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(front_end.config, "--listen", f"unix:{folder}/term.sock", command="milter"))
        parameters = {"smtpd_milters": daemon.where[0], "milter_default_action": "tempfail"}
        postfix = stack.enter_context(PrivatePostfix(folder / "term", parameters))
        client = stack.enter_context(smtplib.SMTP(postfix.address, postfix.port, timeout=30))
        client.ehlo("client.example")
        client.docmd("MAIL", f"FROM:<{STRANGER}>")
        assert client.docmd("RCPT", "TO:<office@city.example>")[0] == 250
        daemon.signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while Path(f"{folder}/term.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        assert client.docmd("DATA")[0] == 354
        client.send(b"From: x@stranger.example\r\n\r\nA test.\r\n.\r\n")
        assert client.getreply()[0] == 250
        assert daemon.wait() == 0


def test_counters_and_status(front_end: FrontEnd) -> None:
    """Each mail once; those of the milter beside those of policyd."""
    before = len(front_end.daemon.verdicts())
    front_end.send(P, WRONG)
    assert front_end.logged(before) == ["reject address"]
    front_end.daemon.reload()
    saved = json.loads((front_end.config.parent / "state" / "counters" / "milter.json").read_text())
    assert sum(row[-1] for row in saved["counts"]) == len({tuple(line.items()) for line in front_end.daemon.verdicts()})
    assert not (front_end.config.parent / "state" / "counters" / "policyd.json").exists()
