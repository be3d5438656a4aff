"""The private Postfix, the SMTP client, the sink and the certificates, together and on real parts."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import StartPostfix
from support.private_postfix import PrivatePostfix, QueueEntry
from support.real import require
from support.sink import Sink

from closedmail.demo import demo_postfix as module
from closedmail.demo.demo_certificates import Authority, CertificateFiles, self_signed
from closedmail.demo.ports import free_port
from closedmail.demo.postfix_configuration import SmtpdListener
from closedmail.demo.smtp_client import SmtpReply, deliver
from closedmail.errors import ClosedmailError

REAL_POSTFIX = pytest.mark.real("root", "postfix", "postfix-lmdb")

# Deferred mail stays where it is until a flush, so that the queue can be looked at.
SLOW_RETRY = {"queue_run_delay": "300s", "minimal_backoff_time": "300s", "maximal_backoff_time": "300s"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    require("openssl")
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> CertificateFiles:
    return authority.issue("mx.koeln.example", ["mx.koeln.example", "127.0.0.1"])


def send(postfix: PrivatePostfix, sender: str = "u@koeln.example", **options: object) -> SmtpReply:
    settings: dict[str, object] = {"recipients": ["office@city.example"], "source_address": "127.0.0.2", **options}
    return deliver(postfix.address, postfix.port, sender=sender, **settings)  # type: ignore[arg-type]


def wait_until_deferred(postfix: PrivatePostfix) -> QueueEntry:
    """The one message of the queue, once qmgr(8) has put it aside: that comes just after the log line."""
    deadline = time.monotonic() + 10
    while True:
        found = postfix.queue()
        if [entry.queue_name for entry in found] == ["deferred"]:
            return found[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def processes_in(directory: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink().is_relative_to(directory):
                    found.append((entry / "comm").read_text().strip())
            except OSError:
                continue
    return found


# Mail in


@REAL_POSTFIX
def test_mail_from_a_loopback_address_is_queued_under_its_sender(private_postfix: StartPostfix) -> None:
    postfix = private_postfix()
    reply = send(postfix)
    assert (reply.stage, reply.code, reply.accepted) == ("message", 250, True)
    postfix.wait_for_log(r"smtpd\[\d+\]: \w+: client=unknown\[127\.0\.0\.2\]")
    postfix.wait_for_log(r"qmgr\[\d+\]: \w+: from=<u@koeln\.example>")
    postfix.wait_for_log(r"to=<office@city\.example>, .*status=sent \(delivered\)")
    assert postfix.queue() == []


@REAL_POSTFIX
@pytest.mark.parametrize(
    ("sender", "queued"),
    [
        ("u%koeln.example", "u@koeln.example"),
        ("koeln.example!u", "u@koeln.example"),
        ("u@koeln.example.", "u@koeln.example"),
        ('"u@koeln.example"@evil.example', "u@koeln.example@evil.example"),
        ("", ""),
        ("FROM: <u@spaced.example> BODY=8BITMIME", "u@spaced.example"),
    ],
)
def test_odd_senders_are_sent_verbatim(private_postfix: StartPostfix, sender: str, queued: str) -> None:
    postfix = private_postfix()
    assert send(postfix, sender).accepted
    found = postfix.wait_for_log(r"qmgr\[\d+\]: \w+: from=<(.*)>, size")
    assert found[1].replace('"', "") == queued


@REAL_POSTFIX
def test_smtputf8_sender(private_postfix: StartPostfix) -> None:
    postfix = private_postfix()
    assert send(postfix, "u@köln.example", smtputf8=True).accepted
    postfix.wait_for_log(r"from=<u@köln\.example>")


@REAL_POSTFIX
def test_loopback_clients_may_not_relay(private_postfix: StartPostfix) -> None:
    reply = send(private_postfix(), recipients=["a@elsewhere.example"])
    assert (reply.stage, reply.code, reply.accepted) == ("rcpt", 554, False)
    assert "Relay access denied" in reply.text


@REAL_POSTFIX
@pytest.mark.parametrize(("address", "logged"), [("192.0.2.1", r"192\.0\.2\.1"), ("2001:db8::1", "2001:db8::1")])
def test_xclient_gives_any_client_address(private_postfix: StartPostfix, address: str, logged: str) -> None:
    postfix = private_postfix({"smtpd_authorized_xclient_hosts": "127.0.0.2"})
    assert send(postfix, xclient={"ADDR": address, "NAME": "[UNAVAILABLE]"}).accepted
    postfix.wait_for_log(rf": client=unknown\[{logged}\]")


@REAL_POSTFIX
def test_each_listener_has_its_own_options(private_postfix: StartPostfix) -> None:
    refusing = {"smtpd_client_restrictions": "check_client_access static:{REJECT not { through } this one}"}
    postfix = private_postfix(listeners=[SmtpdListener(), SmtpdListener("127.0.0.3", options=refusing)])
    first, second = postfix.listeners
    assert (postfix.address, postfix.port) == (first.address, first.port)
    assert send(postfix).accepted
    reply = deliver(second.address, second.port, sender="u@koeln.example", recipients=["office@city.example"])
    assert (reply.stage, reply.code) == ("rcpt", 554)
    assert "not { through } this one" in reply.text


@REAL_POSTFIX
@pytest.mark.parametrize("which", ["fingerprint", "pubkey_fingerprint"])
@pytest.mark.parametrize("trusted", [True, False])
def test_fingerprints_are_those_that_postfix_computes(
    private_postfix: StartPostfix,
    tmp_path: Path,
    authority: Authority,
    server: CertificateFiles,
    which: str,
    trusted: bool,
) -> None:
    client = authority.issue("mx1.köln.example") if trusted else self_signed(tmp_path, "mx1.köln.example")
    table = f"inline:{{ {{ {getattr(client, which)} = REJECT seen }} }}"
    postfix = private_postfix(
        {
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": str(server.chain),
            "smtpd_tls_CAfile": str(authority.ca_file),
            "smtpd_tls_ask_ccert": "yes",
            "smtpd_tls_loglevel": "1",
            "smtpd_authorized_xclient_hosts": "127.0.0.2",
            "smtpd_sender_restrictions": f"check_ccert_access {table}",
        }
    )
    assert send(postfix, tls=True).accepted
    postfix.wait_for_log("Anonymous TLS connection established from")
    # The certificate outlives XCLIENT: any address can be tried with any certificate.
    for xclient in (None, {"ADDR": "192.0.2.1"}):
        reply = send(postfix, certificate=client.pair, xclient=xclient)
        assert (reply.code, "seen" in reply.text) == (554, True)
    postfix.wait_for_log(f"{'Trusted' if trusted else 'Untrusted'} TLS connection established from")


# Mail out


def outbound(open_directory: Path, sink: Sink, level: str) -> dict[str, str]:
    nexthop = f"[{sink.address}]:{sink.port}"
    policy = open_directory / "tls_policy"
    policy.write_text(f"{nexthop} {level}\n")
    return {
        "transport_maps": f"inline:{{ {{ koeln.example = smtp:{nexthop} }} }}",
        "smtp_tls_policy_maps": f"lmdb:{policy}",
        "smtp_tls_security_level": "may",
        **SLOW_RETRY,
    }


@REAL_POSTFIX
def test_encrypt_waits_for_starttls_and_may_does_not(private_postfix: StartPostfix, open_directory: Path) -> None:
    with Sink("127.0.0.7") as sink:
        parameters = outbound(open_directory, sink, "encrypt")
        policy = open_directory / "tls_policy"
        # postmap needs a main.cf, and the map must be there before smtp(8) asks for it.
        postfix = private_postfix()
        postfix.postmap(f"lmdb:{policy}")
        postfix.postconf("-e", *(f"{name} = {value}" for name, value in parameters.items()))
        postfix.reload()
        postfix.submit("office@city.example", ["u@koeln.example"])
        postfix.wait_for_log(r"status=deferred \(TLS is required, but was not offered by host 127\.0\.0\.7")
        entry = wait_until_deferred(postfix)
        assert entry.sender == "office@city.example"
        assert "TLS is required" in entry.recipients["u@koeln.example"]
        assert sink.mails == []

        policy.write_text(policy.read_text().replace("encrypt", "may"))
        postfix.postmap(f"lmdb:{policy}")
        assert postfix.lookup(f"[127.0.0.7]:{sink.port}", f"lmdb:{policy}") == "may"
        postfix.flush()
        (mail,) = sink.wait()
        assert (mail.sender, mail.recipients, mail.tls) == ("office@city.example", ("u@koeln.example",), "")
        assert b"Subject: test\r\n" in mail.data
        postfix.wait_for_log(r"qmgr\[\d+\]: \w+: removed")
        assert postfix.queue() == []


@REAL_POSTFIX
def test_encrypted_delivery_shows_the_client_certificate(
    private_postfix: StartPostfix, open_directory: Path, authority: Authority, server: CertificateFiles
) -> None:
    client = authority.issue("gateway.city.example")
    with Sink(certificate=server.pair, client_ca=authority.ca_file) as sink:
        postfix = private_postfix(
            {
                "transport_maps": f"inline:{{ {{ koeln.example = closed:[127.0.0.1]:{sink.port} }} }}",
                "smtp_tls_security_level": "encrypt",
            },
            services=[f"closed unix - - n - - smtp -o smtp_tls_chain_files={client.chain}"],
        )
        postfix.submit("office@city.example", ["u@koeln.example"])
        (mail,) = sink.wait()
    assert mail.tls.startswith("TLSv1.")
    assert mail.client_fingerprint == client.fingerprint


def test_sink_and_client_without_postfix(server: CertificateFiles) -> None:
    with Sink("127.0.0.4", certificate=server.pair) as sink:
        reply = deliver(
            "127.0.0.4",
            sink.port,
            sender="a@b.example",
            recipients=["c@d.example", "TO: <e@f.example>"],
            source_address="127.0.0.6",
            tls=True,
            data=b"one\n.two\n",
        )
        assert reply == SmtpReply("message", 250, "2.0.0 taken")
        (mail,) = sink.mails
    assert (mail.peer, mail.helo, mail.client_fingerprint) == ("127.0.0.6", "client.example", "")
    assert (mail.recipients, mail.data) == (("c@d.example", "e@f.example"), b"one\r\n.two\r\n")
    assert mail.tls


def test_client_says_where_it_failed() -> None:
    with Sink() as sink:
        where = {"sender": "a@b.example", "recipients": ["c@d.example"]}
        assert deliver(sink.address, sink.port, tls=True, **where).stage == "starttls"  # type: ignore[arg-type]
        reply = deliver(sink.address, sink.port, xclient={"ADDR": "::1"}, **where)  # type: ignore[arg-type]
        assert (reply.stage, reply.code) == ("xclient", 503)
        with pytest.raises(ClosedmailError, match="0 of 1 mails"):
            sink.wait(timeout=0.01)
    reply = deliver(sink.address, sink.port, **where)  # type: ignore[arg-type]
    assert (reply.stage, reply.code, "refused" in reply.text) == ("connect", 0, True)


def test_sink_ends_with_a_client_still_connected(server: CertificateFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs up on the client; its session does not end by the time limit of a client that says nothing."""
    ends: list[BaseException | None] = []
    monkeypatch.setattr("support.sink._Server.handle_error", lambda *_: ends.append(sys.exception()))
    with Sink() as sink:
        connection = socket.create_connection((sink.address, sink.port))
        assert connection.recv(3) == b"220"
    with connection, connection.makefile("rb") as rest:
        assert rest.read() == b" sink.example ESMTP\r\n"
    assert ends == []


# Life and death


@REAL_POSTFIX
def test_nothing_is_left_after_the_block(open_directory: Path) -> None:
    directory = open_directory / "p"
    with PrivatePostfix(directory) as postfix:
        assert postfix.running()
        assert "master" in processes_in(directory)
    assert not postfix.running()
    assert processes_in(directory) == []
    postfix.stop()


@REAL_POSTFIX
def test_nothing_is_left_after_an_exception(open_directory: Path) -> None:
    with pytest.raises(KeyboardInterrupt), PrivatePostfix(open_directory / "p"):
        raise KeyboardInterrupt
    assert processes_in(open_directory) == []


@REAL_POSTFIX
def test_children_of_a_dead_master_are_ended(open_directory: Path) -> None:
    with PrivatePostfix(open_directory / "p") as postfix:
        os.kill(int((postfix.queue_directory / "pid" / "master.pid").read_text()), signal.SIGKILL)
    assert processes_in(open_directory) == []


@REAL_POSTFIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_postfix_too(open_directory: Path, number: signal.Signals) -> None:
    program = (
        "import sys, time; from pathlib import Path; from closedmail.demo.demo_postfix import DemoPostfix\n"
        "with DemoPostfix(Path(sys.argv[1])):\n    print('up', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, open_directory / "p"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as demo:
        assert demo.stdout is not None
        assert demo.stdout.readline() == b"up\n"
        assert "master" in processes_in(open_directory)
        demo.send_signal(number)
        status = demo.wait(20)
    assert status == (-number if number == signal.SIGINT else 128 + number)
    assert processes_in(open_directory) == []


@REAL_POSTFIX
def test_restart_keeps_the_queue(private_postfix: StartPostfix) -> None:
    postfix = private_postfix({"transport_maps": "inline:{ { koeln.example = retry:4.4.1 later } }", **SLOW_RETRY})
    postfix.submit("office@city.example", ["u@koeln.example"])
    before = wait_until_deferred(postfix)
    postfix.stop()
    postfix.start()
    assert wait_until_deferred(postfix) == before
    assert before.recipients == {"u@koeln.example": "later"}


# Errors


@REAL_POSTFIX
@pytest.mark.parametrize(
    ("parameters", "services", "said"),
    [
        ({"smtpd_recipient_restrictions": "permit"}, [], "smtpd_relay_restrictions"),
        ({"queue_run_delay": "often"}, [], "queue_run_delay"),
        ({}, ["closed unix - - n - smtp"], "master.cf"),
    ],
)
def test_a_wrong_configuration_is_quoted_from_the_log(
    open_directory: Path, parameters: Mapping[str, str], services: list[str], said: str
) -> None:
    postfix = PrivatePostfix(
        open_directory / "p", {"smtpd_relay_restrictions": "permit", **parameters}, services=services
    )
    with pytest.raises(ClosedmailError, match=said):
        postfix.start(timeout=3)
    assert processes_in(open_directory) == []


@REAL_POSTFIX
def test_a_taken_port_is_an_error(open_directory: Path) -> None:
    with Sink() as sink:
        postfix = PrivatePostfix(open_directory / "p", listeners=[SmtpdListener(port=sink.port)])
        with pytest.raises(ClosedmailError, match=rf"127\.0\.0\.1:{sink.port}, it is in use"):
            postfix.start()
    assert processes_in(open_directory) == []


@REAL_POSTFIX
def test_a_long_path_is_an_error_before_anything_is_made(open_directory: Path) -> None:
    directory = open_directory / ("x" * 90)
    with pytest.raises(ClosedmailError, match="path too long"):
        PrivatePostfix(directory).start()
    assert not directory.exists()


@REAL_POSTFIX
def test_a_closed_parent_directory_is_an_error(open_directory: Path) -> None:
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ClosedmailError, match="the user postfix cannot enter"):
        PrivatePostfix(closed / "p").start()


def test_only_root_may_start_it(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClosedmailError, match="root"):
        PrivatePostfix(open_directory / "p").start()


def test_a_machine_without_postfix(open_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "_PATH", str(open_directory))
    with pytest.raises(ClosedmailError, match="apt install postfix"):
        PrivatePostfix(open_directory / "p").start()


def test_a_free_port_is_one_that_can_be_had() -> None:
    with socket.create_server(("127.0.0.8", free_port("127.0.0.8"))):
        pass


def test_a_foreign_address_has_no_free_port() -> None:
    with pytest.raises(ClosedmailError, match=r"192\.0\.2\.1"):
        free_port("192.0.2.1")
