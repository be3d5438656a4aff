"""The policy daemon as it runs: a process of its own, real sockets, a policy store that changes under it."""

import grp
import os
import re
import shutil
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import lmdb
import pytest
from support.daemon import Daemon, PolicyClient, closedmail, connect, raise_file_limit, request
from support.gateway import LIST, Gateway, make_gateway
from support.policy_cases import CASES, REFUSED, RIGHT, WRONG

from closedmail.demo.ports import free_port


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return make_gateway(tmp_path_factory.mktemp("gateway"))


@pytest.fixture(scope="module")
def daemon(gateway: Gateway) -> Iterator[Daemon]:
    """One for all tests that only ask."""
    with Daemon(gateway.config, "--listen", f"unix:{gateway.socket}", "--listen", "inet:127.0.0.1:0") as daemon:
        yield daemon


@pytest.fixture
def own(tmp_path: Path) -> Gateway:
    """A gateway that the test may change."""
    return make_gateway(tmp_path)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def no_such_instance(daemon: Daemon, name: str) -> bool:
    return all(line["instance"] != name for line in daemon.verdicts())


# The answer


@pytest.mark.parametrize(("attributes", "action", "verdict"), CASES)
def test_answer_and_log_line(daemon: Daemon, attributes: dict[str, str | bytes], action: str, verdict: str) -> None:
    instance = f"case.{CASES.index((attributes, action, verdict))}"
    answer = daemon.ask(**attributes, instance=instance)
    assert answer is not None
    if action.endswith(" "):
        assert answer.startswith(action)
        assert answer.isprintable()
    else:
        assert answer == action
    if verdict:
        daemon.wait_for(rf" verdict={verdict} .* instance={instance} generation=1$")
    else:
        daemon.ask(sender="u@koeln.example", client_address=RIGHT, instance=f"after.{instance}")
        daemon.wait_for(f"instance=after.{instance} ")
        assert no_such_instance(daemon, instance)


@pytest.mark.parametrize("state", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE", "VRFY"])
@pytest.mark.parametrize(("client", "action"), [(RIGHT, "DUNNO"), (WRONG, REFUSED)])
def test_the_same_answer_in_every_protocol_state(daemon: Daemon, state: str, client: str, action: str) -> None:
    asked = {"sender": "u@koeln.example", "client_address": client, "protocol_state": state}
    for recipient, count in (("", "0"), ("office@city.example", "1"), ("", "7")):
        assert daemon.ask(**asked, recipient=recipient, recipient_count=count) == action
    assert daemon.ask(client_address=client, protocol_state=state, sender="") == "DUNNO"


def test_attributes_in_any_order_and_unknown_ones(daemon: Daemon) -> None:
    lines = request(sender="u@koeln.example", client_address=WRONG).removesuffix(b"\n\n").split(b"\n")
    with daemon.client() as client:
        client.send(
            b"\n".join([*reversed(lines), b"tls_sni=x=y=z", b"compatibility_level=3.6", b"odd name="]) + b"\n\n"
        )
        assert client.action() == REFUSED
        # As little as there may be.
        client.send(b"request=smtpd_access_policy\n\n")
        assert client.action() == "DUNNO"


# The log


def test_one_line_and_count_for_each_instance_and_verdict(own: Gateway) -> None:
    asked = {"sender": "u@koeln.example", "client_address": WRONG, "instance": "a.1"}
    with Daemon(own.config) as daemon:
        for state in ("RCPT", "RCPT", "RCPT", "RCPT", "RCPT", "DATA"):
            daemon.ask(**asked, protocol_state=state)  # five recipients make six requests
        with daemon.client() as client:
            client.ask(**{**asked, "instance": "a.2"})  # another mail in the same session
            client.ask(**asked)
            client.ask(**{**asked, "client_address": RIGHT})  # the same instance, another verdict
            client.ask(**{**asked, "sender": "u@bonn.example"})  # or another partner
        assert daemon.stop() == 0
        logged = [(line["instance"], line["partner"], line["verdict"], line["reason"]) for line in daemon.verdicts()]
    assert logged == [
        ("a.1", "koeln.example", "reject", "address"),
        ("a.2", "koeln.example", "reject", "address"),
        ("a.1", "koeln.example", "accept", "ok"),
        ("a.1", "bonn.example", "reject", "address"),
    ]
    assert daemon.verdicts()[0] == {
        "network": "ndb",
        "partner": "koeln.example",
        "verdict": "reject",
        "reason": "address",
        "domain": "koeln.example",
        "client": WRONG,
        "instance": "a.1",
        "generation": "1",
    }


def test_a_log_line_stays_a_line(daemon: Daemon) -> None:
    evil = b"1.1\rnetwork=ndb\x00\x1b[31m partner=\xff\xe2\x80\xa8x"
    daemon.ask(sender="u@koeln.example", client_address=evil, instance=evil)
    daemon.wait_for(r"^network=ndb partner=koeln\.example verdict=reject .* client=1\.1\?network=ndb\?")
    assert "\x1b" not in daemon.log()
    assert "\r" not in daemon.log()


def test_text_from_the_client_stays_within_the_answer(daemon: Daemon) -> None:
    for domain in (b"\raction=OK", b"x\x00y", b"\xe2\x80\xa8", b"\xc2\x85", b"a" * 2000, b"%s%n{domain}"):
        answer = daemon.ask(sender=b"u@" + domain + b".land.example", client_address=WRONG)
        assert answer is not None
        assert answer.startswith("REJECT 5.7.1 Mail from ")
        assert answer.isprintable()
        assert len(answer.encode()) <= 512 + len("REJECT 5.7.1 ")


# The wire


def test_pipelined_requests_are_answered_in_their_order(daemon: Daemon) -> None:
    asked = [{"sender": f"u@{name}.land.example", "client_address": WRONG} for name in map(str, range(300))]
    with daemon.client() as client:
        client.send(b"".join(request(**each) for each in asked))
        for number in range(300):
            action = client.action()
            assert action is not None
            assert action.startswith(f"REJECT 5.7.1 Mail from {number}.land.example is")


@pytest.mark.parametrize("at", [0, 1])
def test_packets_cut_at_every_byte(daemon: Daemon, at: int) -> None:
    least = b"request=smtpd_access_policy\nsender=u@koeln.example\nclient_address=192.0.2.9\n\n"
    with daemon.client(at) as client:
        for cut in range(1, len(least)):
            client.send(least[:cut])
            if cut % 8 == 0:
                time.sleep(0.001)  # let it be read by itself
            client.send(least[cut:])
            assert client.action() == REFUSED
        for byte in least:
            client.send(bytes([byte]))
            time.sleep(0.0005)
        assert client.action() == REFUSED


def test_a_packet_with_several_requests_and_a_half(daemon: Daemon) -> None:
    one = request(sender="u@koeln.example", client_address=WRONG)
    two = request(sender="u@koeln.example", client_address=RIGHT)
    with daemon.client() as client:
        client.send(one + two + one[:50])
        assert [client.action(), client.action()] == [REFUSED, "DUNNO"]
        client.send(one[50:] + two)
        assert [client.action(), client.action()] == [REFUSED, "DUNNO"]


NOT_POSTFIX = "only check_policy_service of Postfix may ask here"
NO_ANSWER = "smtpd_policy_service_default_action decides about the mail"
MALFORMED = {
    "a line without '='": b"request=smtpd_access_policy\nsender\n\n",
    "an attribute that comes twice": b"request=smtpd_access_policy\nsender=a@b.example\nsender=c@d.example\n\n",
    "not a request of type smtpd_access_policy": b"request=junk\nsender=a@b.example\n\n",
    "not a request": b"sender=a@b.example\nclient_address=192.0.2.1\n\n",
    "an empty request": b"\n\n",
    "an empty line in front": b"\n" + request(sender="u@koeln.example", client_address=RIGHT),
    "CRLF": b"request=smtpd_access_policy\r\nsender=u@koeln.example\r\n\r\n\n",
    "a GET": b"GET / HTTP/1.1\nHost: x\n\n",
    "a sender whose domain is not UTF-8": request(sender=b"u@k\xf6ln.example", client_address=WRONG),
    "a domain with half a UTF-8 character": request(sender=b"u@k\xc3.example", client_address=WRONG),
    "a sender without @ whose domain is not UTF-8": request(sender=b"u%k\xf6ln.example", client_address=WRONG),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_is_closed_without_an_answer(gateway: Gateway, daemon: Daemon, data: bytes) -> None:
    before = daemon.log().count("error: ")
    with daemon.client(1) as client:
        client.send(data)
        assert client.action() is None
    line = daemon.wait_for(r"^error: (.*): closing the connection from 127\.0\.0\.1:\d+ \((.*)\)$", before + 1)
    assert line[1]
    assert line[2] == (NO_ANSWER if "UTF-8" in line[1] else NOT_POSTFIX)
    assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


def test_what_came_before_a_malformed_request_is_answered(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.send(request(sender="u@koeln.example", client_address=WRONG) + b"nonsense\n\n")
        assert [client.action(), client.action()] == [REFUSED, None]


def test_the_longest_request_and_one_byte_more(daemon: Daemon) -> None:
    head = b"request=smtpd_access_policy\nsender=u@koeln.example\nclient_address=192.0.2.9\nx="
    for size, action in ((65536, REFUSED), (65537, None)):
        with daemon.client() as client:
            client.send(head + b"x" * (size - len(head)) + b"\n\n")
            assert client.action() == action
    daemon.wait_for(r"^error: a request of more than 65536 bytes: closing the connection from the UNIX socket .*$")


def test_an_endless_line_is_cut_off(daemon: Daemon) -> None:
    with daemon.client(1) as client, pytest.raises((ConnectionResetError, BrokenPipeError)):
        client.send(b"x" * (256 << 20))
    assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


def test_a_client_that_hangs_up_in_the_middle(daemon: Daemon) -> None:
    for at in (0, 1):
        with daemon.client(at) as client:
            client.send(b"request=smtpd_access_policy\nsender=u@koeln")
        with daemon.client(at) as client:
            client.send(request(sender="u@koeln.example", client_address=WRONG) * 100)  # and never reads
    with daemon.client() as client:
        client.send(request(sender="u@koeln.example", client_address=WRONG))
        client.socket.shutdown(socket.SHUT_WR)  # half closed: what was asked is answered
        assert client.action() == REFUSED
        assert client.action() is None


# Many, slow and greedy clients


@pytest.mark.real("1,200 open files")
def test_a_thousand_idle_connections(own: Gateway) -> None:
    assert raise_file_limit(1200)
    with Daemon(own.config) as daemon:
        idle = [daemon.client() for _ in range(1000)]
        try:
            with daemon.client() as active:
                for _ in range(20):
                    assert active.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
                # All of them are served, not only accepted by the kernel.
                for client in idle:
                    assert client.ask(sender="u@koeln.example", client_address=RIGHT) == "DUNNO"
                assert active.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
            assert daemon.memory() < 64 << 20
            assert daemon.stop() == 0
        finally:
            for client in idle:
                client.close()


def test_a_client_that_never_reads_costs_nothing_but_itself(own: Gateway) -> None:
    one = request(sender="u@koeln.example", client_address=WRONG, instance="same")
    with Daemon(own.config) as daemon, daemon.client() as greedy, daemon.client() as other:
        assert other.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        before = daemon.memory()
        sent = 0
        greedy.socket.settimeout(0.5)
        with suppress(TimeoutError):
            while True:
                sent += greedy.socket.send((one * 100)[sent % len(one) :])
                assert sent < 256 << 20
        assert other.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        assert daemon.memory() - before < 16 << 20
        # It reads after all: nothing was lost and nothing is out of step.
        greedy.socket.settimeout(15)
        whole = sent // len(one)
        for _ in range(whole):
            assert greedy.action() == REFUSED
        greedy.send(one[sent % len(one) :] if sent % len(one) else one)
        assert greedy.action() == REFUSED


def test_memory_is_bounded_whatever_the_attributes_hold(own: Gateway) -> None:
    junk = "x" * 30_000
    with Daemon(own.config) as daemon, daemon.client() as client:
        client.ask(sender="u@koeln.example", client_address=WRONG)
        before = daemon.memory()
        for number in range(3000):
            fields = {"instance": f"{number}{junk}", "client_address": f"{number}{junk}"}
            assert client.ask(sender="u@cert.example", ccert_subject="s", ccert_issuer="i", **fields)
        assert daemon.memory() - before < 24 << 20


@pytest.mark.real("prlimit")
def test_running_out_of_files_ends_nothing(own: Gateway) -> None:
    with Daemon(own.config, limit_files=40) as daemon:
        with daemon.client() as first:
            assert first.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
            crowd = [daemon.client() for _ in range(60)]
            assert first.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
            for client in crowd:
                client.close()
            assert first.ask(sender="u@koeln.example", client_address=RIGHT) == "DUNNO"
            assert daemon.ask(sender="u@koeln.example", client_address=RIGHT) == "DUNNO"
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.log()


@pytest.mark.real("prlimit")
def test_a_new_generation_when_files_have_run_out(own: Gateway) -> None:
    """Whatever connects, files are left to read it."""
    with Daemon(own.config, limit_files=200) as daemon, daemon.client() as first:
        assert first.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        crowd = [daemon.client() for _ in range(250)]
        try:
            daemon.wait_for(r"^error: 136 connections are open: closing all that come$")
            own.configure(inbound='mode = "report"\nallow_from = ["192.0.2.1"]')
            own.sync()
            own.store.rename(own.folder / "away")
            shutil.copytree(own.folder / "away", own.store)
            assert (first.ask(sender="u@koeln.example", client_address=WRONG) or "").startswith("WARN ")
            assert (
                sum(client.ask(sender="u@koeln.example", client_address=RIGHT) == "DUNNO" for client in crowd[:135])
                == 135
            )
        finally:
            for client in crowd:
                client.close()


# Sockets


def test_mode_and_group_of_the_socket(own: Gateway) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    if os.geteuid() == 0:
        group = "daemon"
    own.configure(policyd=f'socket_mode = "0620"\nsocket_group = "{group}"')
    with Daemon(own.config):
        status = own.socket.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o620
        assert grp.getgrgid(status.st_gid).gr_name == group
        assert stat.S_IMODE(own.socket.parent.stat().st_mode) == 0o755


def test_the_usual_mode_of_the_socket_whatever_the_umask(own: Gateway) -> None:
    before = os.umask(0o077)
    try:
        with Daemon(own.config):
            assert stat.S_IMODE(own.socket.stat().st_mode) == 0o660
    finally:
        os.umask(before)


def test_a_stale_socket_is_replaced(own: Gateway) -> None:
    with Daemon(own.config) as daemon:
        daemon.kill()
        assert own.socket.is_socket()
        daemon.process.returncode = 0  # it is we who killed it
    with Daemon(own.config) as daemon:
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


def test_a_live_socket_is_left_alone(own: Gateway) -> None:
    with Daemon(own.config) as daemon:
        said = closedmail("policyd", config=own.config)
        assert (said.status, said.error) == (1, f"can't listen on {own.socket}: another process does; stop it first")
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


def test_a_live_socket_with_a_full_queue_is_left_alone(own: Gateway) -> None:
    own.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(own.socket))
        busy.listen(0)
        waiting.connect(str(own.socket))
        said = closedmail("policyd", config=own.config)
        assert (said.status, "another process does" in said.error) == (1, True)
        assert own.socket.is_socket()


def test_a_file_in_the_place_of_the_socket_is_left_alone(own: Gateway) -> None:
    own.socket.parent.mkdir()
    own.socket.write_text("precious")
    said = closedmail("policyd", config=own.config)
    reason = f"can't listen on {own.socket}: what is there is no socket; move it away"
    assert (said.status, said.error) == (1, reason)
    assert own.socket.read_text() == "precious"


def test_another_daemons_socket_is_not_taken_away(own: Gateway) -> None:
    with Daemon(own.config) as old:
        own.socket.unlink()
        with Daemon(own.config) as new:
            assert old.stop() == 0
            assert new.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


def test_an_unknown_group_leaves_nothing_behind(own: Gateway) -> None:
    own.configure(policyd='socket_group = "no-such-group"')
    said = closedmail("policyd", config=own.config)
    assert said.status == 2
    assert said.error == "policyd.socket_group: there is no group 'no-such-group'; make it or name another"
    assert not own.socket.exists()


def test_tcp_on_both_loopbacks(own: Gateway) -> None:
    own.configure(listen=["inet:127.0.0.1:0", "inet:[::1]:0", f"unix:{own.socket}", "inet:localhost:0"])
    with Daemon(own.config) as daemon:
        kinds = [where.rpartition(":")[0] for where in daemon.where]
        assert kinds[:3] == ["inet:127.0.0.1", "inet:[::1]", "unix"]
        assert set(kinds[3:]) <= {"inet:127.0.0.1", "inet:[::1]"}
        assert kinds[3:]
        for at in range(len(daemon.where)):
            with daemon.client(at) as client:
                assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


def test_listen_options_stand_in_place_of_the_files(own: Gateway) -> None:
    other = own.folder / "a" / "b" / "other.sock"
    with Daemon(own.config, "--listen", f"unix:{other}", "--listen", "inet:127.0.0.1:0") as daemon:
        assert daemon.where[0] == f"unix:{other}"
        assert len(daemon.where) == 2
        assert not own.socket.exists()
        daemon.reload()  # also after the file was read again
        assert not own.socket.exists()
        with daemon.client(1) as client:
            assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        assert daemon.stop() == 0
    assert not other.exists()


@pytest.mark.parametrize("where", ["", "127.0.0.1:10031", "inet:127.0.0.1", "unix:relative", "inet:127.0.0.1:99999"])
def test_a_wrong_listen_option_is_a_usage_error(own: Gateway, where: str) -> None:
    said = closedmail("policyd", "--listen", where, config=own.config)
    assert said.status == 2
    assert said.error.startswith("--listen: ")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("inet:192.0.2.77:10031", "Cannot assign requested address"),
        ("inet:no-such-host.invalid:10031", ""),
        ("unix:/proc/closedmail/policy.sock", ""),
        ("unix:/dev/null/policy.sock", ""),
    ],
)
def test_where_nobody_can_listen(own: Gateway, where: str, reason: str) -> None:
    said = closedmail("policyd", "--listen", where, config=own.config)
    assert said.status == 1
    assert said.error.startswith(f"can't listen on {where.partition(':')[2]}: ")
    assert reason in said.error


def test_a_taken_port_is_one_clear_line(own: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = closedmail("policyd", "--listen", f"inet:127.0.0.1:{port}", config=own.config)
        assert (said.status, said.error) == (1, f"can't listen on 127.0.0.1:{port}: Address already in use")


def test_the_same_port_in_two_spellings_is_one_clear_line(own: Gateway) -> None:
    port = free_port()
    listen = ["--listen", f"inet:0.0.0.0:{port}", "--listen", f"inet:127.0.0.1:{port}"]
    said = closedmail("policyd", *listen, config=own.config)
    assert (said.status, said.error) == (1, f"can't listen on 127.0.0.1:{port}: Address already in use")


def test_the_same_place_twice_is_one(own: Gateway) -> None:
    with Daemon(own.config, "--listen", f"unix:{own.socket}", "--listen", f"unix:{own.socket}") as daemon:
        assert daemon.where == [f"unix:{own.socket}"]
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_asked_is_answered_before_the_end(own: Gateway, number: signal.Signals) -> None:
    with Daemon(own.config) as daemon, daemon.client() as busy, daemon.client() as idle, daemon.client() as half:
        assert busy.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        half.send(b"request=smtpd_access_policy\nsender=u@koeln.example\n")
        daemon.process.send_signal(signal.SIGSTOP)
        busy.send(request(sender="u@koeln.example", client_address=WRONG) * 200)
        late = daemon.client()  # the kernel has the connection, the daemon not yet
        late.send(request(sender="u@koeln.example", client_address=WRONG))
        daemon.process.send_signal(number)
        daemon.process.send_signal(signal.SIGCONT)
        assert [busy.action() for _ in range(201)] == [REFUSED] * 200 + [None]
        assert late.action() == REFUSED
        assert [late.action(), idle.action(), half.action()] == [None, None, None]
        late.close()
        assert daemon.wait() == 0
        with pytest.raises(OSError, match=r"No such file|refused"):
            connect(daemon.where[0])
    assert not own.socket.exists()


def test_a_client_that_never_stops_asking_does_not_keep_it_from_ending(own: Gateway) -> None:
    over = threading.Event()

    def chatter(client: PolicyClient) -> None:
        try:
            while client.ask(sender="u@koeln.example", client_address=WRONG):
                pass
        except OSError:
            pass
        over.set()

    with Daemon(own.config) as daemon, daemon.client() as client:
        threading.Thread(target=chatter, args=[client], daemon=True).start()
        daemon.wait_for("^network=")
        assert daemon.stop() == 0
        assert over.wait(15)


def test_an_early_signal_ends_it_too(own: Gateway) -> None:
    """A second SIGTERM while it ends changes nothing."""
    with Daemon(own.config) as daemon, daemon.client():
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


def test_sighup_moves_the_sockets_and_keeps_open_connections(own: Gateway) -> None:
    other = own.folder / "other.sock"
    with Daemon(own.config) as daemon, daemon.client() as client:
        client.send(b"request=smtpd_access_policy\nsender=u@koeln.example\n")
        own.configure(listen=[f"unix:{other}"])
        daemon.reload()
        client.send(b"client_address=192.0.2.9\n\n")
        assert client.action() == REFUSED
        assert not own.socket.exists()
        with PolicyClient(f"unix:{other}") as new:
            assert new.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        own.configure()
        daemon.reload()
        assert not other.exists()
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        assert daemon.stop() == 0
    assert not own.socket.exists()


def test_sighup_changes_mode_and_group_of_a_socket_that_stays(own: Gateway) -> None:
    with Daemon(own.config) as daemon:
        inode = own.socket.stat().st_ino
        own.configure(policyd='socket_mode = "0666"')
        daemon.reload()
        assert (stat.S_IMODE(own.socket.stat().st_mode), own.socket.stat().st_ino) == (0o666, inode)
        own.configure(policyd='socket_mode = "0600"\nsocket_group = "no-such-group"')
        daemon.reload()
        daemon.wait_for(r"^error: policyd\.socket_group: there is no group")
        assert stat.S_IMODE(own.socket.stat().st_mode) == 0o666


def test_sighup_changes_on_failure(own: Gateway) -> None:
    with Daemon(own.config) as daemon:
        shutil.rmtree(own.store)
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) is None
        own.configure(policyd='on_failure = "dunno"')
        daemon.reload()
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == "DUNNO"
        own.configure(policyd='on_failure = "disconnect"')
        daemon.reload()
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) is None


BROKEN = {
    "not TOML": "[gateway",
    "a misspelled key": "[policyd]\nlitsen = []",
    "a wrong value": '[policyd]\nsocket_mode = "rw"',
    "metrics at an address of somebody else": '[policyd]\nmetrics_listen = "inet:192.0.2.77:1"',
    "an address of somebody else": '[policyd]\nlisten = ["inet:192.0.2.77:1"]',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_sighup_with_a_broken_file_goes_on_as_before(own: Gateway, text: str) -> None:
    with Daemon(own.config) as daemon, daemon.client() as client:
        own.config.write_text(f'[gateway]\nown_domains = ["city.example"]\n{text}')
        daemon.reload()
        daemon.wait_for(r"^error: .*: going on with the configuration from before$")
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        own.config.unlink()
        daemon.reload()
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


def test_many_sighups_at_once(own: Gateway) -> None:
    wheres = [f"unix:{own.folder}/{number}.sock" for number in range(3)]
    with Daemon(own.config) as daemon, daemon.client() as client:
        for number in range(30):
            own.configure(listen=[wheres[number % 3], f"unix:{own.socket}"])
            daemon.signal(signal.SIGHUP)
            daemon.signal(signal.SIGHUP)
            assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        daemon.reload()
        daemon.reload()
        until(lambda: sorted(path.name for path in own.folder.glob("*.sock")) == ["2.sock"])
        with PolicyClient(wheres[2]) as new:
            assert new.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


# Generations


def test_a_new_generation_is_in_force_at_the_next_request(own: Gateway) -> None:
    with Daemon(own.config) as daemon, daemon.client() as client:
        for number in range(2, 12):
            assert client.ask(sender="u@new.example", client_address=WRONG) == "DUNNO"
            own.write_list([*LIST, "new.example esmtp:[192.0.2.30]"])
            assert own.sync().generation == 2 * number - 2
            answer = client.ask(sender="u@new.example", client_address=WRONG)
            assert answer is not None
            assert answer.startswith("REJECT 5.7.1 ")
            own.write_list(LIST)
            own.configure(network='signature = "none"\nsource = "{list}"\non_removed = "release"')
            assert own.sync(force=True).generation == 2 * number - 1


def test_a_rule_that_was_changed_is_in_force_without_a_signal(own: Gateway) -> None:
    with Daemon(own.config) as daemon, daemon.client() as client:
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        text = "{domain} not from {client_address}, {network} {generation} {reason}"
        own.configure(inbound=f'mode = "defer"\nallow_from = ["192.0.2.1"]\nreject_text = "{text}"')
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED  # the file alone is no rule
        own.sync()
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == (
            "DEFER 4.7.1 koeln.example not from 192.0.2.9, ndb 2 address"
        )
        assert client.ask(sender="u@koeln.example", client_address="192.0.2.1") == "DUNNO"


def test_no_request_is_lost_while_generations_change(own: Gateway) -> None:
    """A partner that is in both generations is refused in every instant."""
    answers: list[str | None] = []
    over = threading.Event()

    def chatter(client: PolicyClient) -> None:
        while not over.is_set():
            answers.append(client.ask(sender="u@koeln.example", client_address=WRONG))

    with Daemon(own.config) as daemon, daemon.client() as client:
        thread = threading.Thread(target=chatter, args=[client])
        thread.start()
        try:
            for number in range(20):
                own.write_list([*LIST, *(f"p{number}-{n}.example esmtp:[192.0.2.40]" for n in range(500))])
                own.sync(force=True)
        finally:
            over.set()
            thread.join(15)
    assert len(answers) > 20
    assert set(answers) == {REFUSED}


def test_generations_after_the_lock_file_was_removed(own: Gateway) -> None:
    """Readers and writers of LMDB know of each other by that file; a new one would tell the daemon nothing."""
    with Daemon(own.config) as daemon, daemon.client() as client:
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        (own.store / "lock.mdb").unlink()
        for mode, word in (("report", "WARN"), ("defer", "DEFER"), ("enforce", "REJECT")):
            own.configure(inbound=f'mode = "{mode}"\nallow_from = ["192.0.2.1"]')
            own.sync()
            answer = client.ask(sender="u@koeln.example", client_address=WRONG)
            assert answer is not None
            assert answer.partition(" ")[0] == word


# A store that cannot be read


def test_the_store_is_missing_at_the_start_and_appears(own: Gateway) -> None:
    shutil.rmtree(own.state_dir)
    with Daemon(own.config) as daemon:
        for _ in range(3):
            assert daemon.ask(sender="u@koeln.example", client_address=WRONG) is None
        daemon.wait_for(
            r"^error: .*/state/store: no generation is in force yet; run: closedmail --config \S+ sync: closing the "
            r"conn"
        )
        assert daemon.log().count("no generation") == 1
        own.sync()
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        daemon.wait_for("^policy store is back, generation=1$")


@pytest.mark.parametrize(("on_failure", "answer"), [("disconnect", None), ("dunno", "DUNNO")])
def test_the_store_is_missing_at_the_start(own: Gateway, on_failure: str, answer: str | None) -> None:
    shutil.rmtree(own.state_dir)
    own.configure(policyd=f'on_failure = "{on_failure}"')
    with Daemon(own.config) as daemon:
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == answer
        assert daemon.ask(sender="u@stranger.example", client_address=WRONG) == answer
        # A request that is wrong in itself is closed, whatever on_failure says.
        with daemon.client() as client:
            client.send(b"nonsense\n\n")
            assert client.action() is None


def empty(store: Path) -> None:
    (store / "data.mdb").write_bytes(b"")


def cut(size: int) -> Callable[[Path], None]:
    def to_size(store: Path) -> None:
        os.truncate(store / "data.mdb", size)

    return to_size


def newer(store: Path) -> None:
    with lmdb.open(str(store), max_dbs=8, map_size=1 << 30) as environment:
        meta = environment.open_db(b"meta")
        with environment.begin(write=True) as transaction:
            transaction.put(b"schema", b"99", db=meta)


def broken_manifest(value: bytes) -> Callable[[Path], None]:
    def put(store: Path) -> None:
        with lmdb.open(str(store), max_dbs=8, map_size=1 << 30) as environment:
            meta = environment.open_db(b"meta")
            with environment.begin(write=True) as transaction:
                transaction.put(b"manifest", value, db=meta)

    return put


def garbage_aside(store: Path) -> None:
    aside = store / "new"
    aside.write_bytes(os.urandom(1 << 16))
    aside.replace(store / "data.mdb")


def garbage_in_place(store: Path) -> None:
    path = store / "data.mdb"
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


def another_environment(store: Path) -> None:
    shutil.rmtree(store)
    store.mkdir()
    with lmdb.open(str(store), map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"somebody's", b"data")


def gone_file(store: Path) -> None:
    (store / "data.mdb").unlink()


def a_file(store: Path) -> None:
    shutil.rmtree(store)
    store.write_text("not a folder")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "removed": shutil.rmtree,
    "data removed": gone_file,
    "a file in its place": a_file,
    "empty": empty,
    "cut to half a page": cut(2048),
    "cut to one page": cut(4096),
    "cut to two pages": cut(8192),
    "cut to three pages": cut(12288),
    "newer schema": newer,
    "broken manifest": broken_manifest(b"{"),
    "empty manifest": broken_manifest(b"{}"),
    "a number for a manifest": broken_manifest(b"7"),
    "a list for a manifest": broken_manifest(b"[]"),
    "garbage renamed over it": garbage_aside,
    "garbage written over it": garbage_in_place,
    "another environment": another_environment,
}


class Survivor:
    """A daemon whose store is damaged again and again."""

    def __init__(self, gateway: Gateway, daemon: Daemon, answer: str | None) -> None:
        self.gateway, self.daemon, self.answer = gateway, daemon, answer
        self.repaired = 0


@pytest.fixture(scope="module", params=[("disconnect", None), ("dunno", "DUNNO")], ids=["disconnect", "dunno"])
def survivor(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Survivor]:
    on_failure, answer = request.param
    gateway = make_gateway(tmp_path_factory.mktemp("survivor"), policyd=f'on_failure = "{on_failure}"')
    with Daemon(gateway.config) as daemon:
        yield Survivor(gateway, daemon, answer)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_store_damaged_under_the_daemon(survivor: Survivor, damage: Callable[[Path], None]) -> None:
    """It goes on, says why, answers as `on_failure` says, and is right again with a store that can be read."""
    store, daemon, answer = survivor.gateway.store, survivor.daemon, survivor.answer
    kept = survivor.gateway.folder / "kept"
    shutil.copytree(store, kept)
    said = len(daemon.log())
    with daemon.client() as client:
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        damage(store)
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == answer
        assert daemon.ask(sender="u@stranger.example", client_address=WRONG) == answer
        survivor.repaired += 1
        until(lambda: re.search(rf"^error: {store}: .*\(policyd\.on_failure\)$", daemon.log()[said:], re.M) is not None)
        assert daemon.log()[said:].count("error: ") <= 2  # a line for each kind of trouble, not for each mail
        if store.is_dir():
            shutil.rmtree(store)
        else:
            store.unlink(missing_ok=True)
        kept.rename(store)
        assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        assert daemon.ask(sender="u@koeln.example", client_address=RIGHT) == "DUNNO"
        daemon.wait_for("^policy store is back, generation=1$", survivor.repaired)


def test_a_store_that_is_cut_short_while_it_is_read(own: Gateway) -> None:
    """At any moment of a request: what was mapped of the file would be gone, and with it the daemon."""
    data, aside = own.store / "data.mdb", own.folder / "aside"
    over = threading.Event()
    wrong: list[str | None] = []

    def ask(daemon: Daemon) -> None:
        while not over.is_set():
            with suppress(OSError), daemon.client() as client:
                while not over.is_set() and (answer := client.ask(sender="u@koeln.example", client_address=WRONG)):
                    wrong.extend([answer] if answer != REFUSED else [])

    with Daemon(own.config) as daemon:
        askers = [threading.Thread(target=ask, args=(daemon,)) for _ in range(3)]
        try:
            for asker in askers:
                asker.start()
            for size in [0, 4096, 8192] * 100:
                shutil.copyfile(data, aside)
                os.truncate(data, size)
                assert daemon.ask(sender="u@koeln.example", client_address=WRONG) is None
                aside.replace(data)
                assert daemon.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED
        finally:
            over.set()
            for asker in askers:
                asker.join()
        assert daemon.running
    assert not wrong


def test_a_store_replaced_by_another_one(own: Gateway, tmp_path: Path) -> None:
    """A restored backup, for example: the next request is answered from it."""
    older = own.folder / "older"
    shutil.copytree(own.store, older)
    own.configure(inbound='mode = "report"\nallow_from = ["192.0.2.1"]')
    own.sync()
    with Daemon(own.config) as daemon, daemon.client() as client:
        answer = client.ask(sender="u@koeln.example", client_address=WRONG)
        assert answer is not None
        assert answer.startswith("WARN ")
        own.store.rename(own.folder / "away")
        older.rename(own.store)
        assert client.ask(sender="u@koeln.example", client_address=WRONG) == REFUSED


# Never


def test_nothing_ever_permits(daemon: Daemon) -> None:
    """All that was answered begins with a word that Postfix knows and that grants nothing."""
    words = set()
    with daemon.client() as client:
        for attributes, _, _ in CASES:
            answer = client.ask(**attributes)
            assert answer is not None
            words.add(answer.partition(" ")[0])
    assert words == {"DUNNO", "REJECT", "DEFER", "WARN"}


def test_it_needs_a_configuration(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    said = closedmail("policyd", config=missing)
    assert (said.status, said.error.startswith(f"{missing}: no such file")) == (2, True)
