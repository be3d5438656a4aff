"""CPU time for each message of `closedmail milter`, beside a libmilter loop in Python that decides nothing.

Both get the same messages, one by one on one connection, with the macros of Sendmail and ten header fields: a third
from a partner's right address, a third from a wrong one (refused at RCPT), a third from strangers. All run on one CPU,
in alternating rounds.
"""

import random
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from sys import executable

from bench_common import ListShape, closedmail, configuration, cpu_seconds, domain, run, server
from bench_policy import connect, one_cpu

_PARTNERS = 100_000
_WARM_UP = 1_000
_AIM = 2_000  # messages a second


def bench_milter(work: Path, rounds: int, messages: int) -> None:
    """Measure and print."""
    folder = work / "milter"
    folder.mkdir()
    print(f"Milter: {rounds} alternating rounds of {messages} messages, {_PARTNERS} partners, header_from enforced")
    with ExitStack() as stack:
        stack.enter_context(one_cpu())
        bare_pid = stack.enter_context(_bare(folder))
        ours_pid = stack.enter_context(_ours(folder))
        peers = [_Peer(folder / "bare.sock"), _Peer(folder / "milter.sock")]
        spent: list[list[float]] = [[], []]
        for number in range(-1, rounds):
            for at, (peer, pid) in enumerate(zip(peers, (bare_pid, ours_pid), strict=True)):
                batch = list(_messages(messages if number >= 0 else _WARM_UP, str(number)))
                before = cpu_seconds(pid)
                for message in batch:
                    peer.send(*message)
                if number >= 0:
                    spent[at].append((cpu_seconds(pid) - before) / len(batch) * 1e6)
        refused = peers[1].refused / max(1, peers[1].sent)
    bare, ours = (median(each) for each in spent)
    ratio = median(mine / theirs for mine, theirs in zip(spent[1], spent[0], strict=True))
    print(f"\n  {'':32}{'µs':>8}{'a second':>12}{'beside bare':>14}{'aim':>8}")
    print(f"  {'libmilter that decides nothing':32}{bare:8.1f}{1e6 / bare:12.0f}")
    print(f"  {'closedmail milter':32}{ours:8.1f}{1e6 / ours:12.0f}{ratio:14.2f}{_AIM:8}")
    print(f"  ({refused:.0%} were refused)\n")


class _Peer:
    """The MTA's side of a connection (version 6 of the protocol)."""

    def __init__(self, path: Path) -> None:
        self.sent = self.refused = 0
        self._socket = connect(path)
        self._buffer = b""
        self._socket.sendall(_packet(b"O", struct.pack("!III", 6, 0x1FF, 0x1FFFFF)))
        self._reply()
        self._socket.sendall(_packet(b"D", b"Cj\0gateway.city.example\0"))
        self._socket.sendall(_packet(b"C", b"mx\0" + b"4\xa8\xca" + b"10.1.2.3\0"))

    def send(self, envelope: bytes, header: bytes) -> None:
        self.sent += 1
        self._socket.sendall(envelope)
        if self._reply() != b"c":
            self.refused += 1
            self._socket.sendall(_packet(b"A", b""))
            return
        self._socket.sendall(header)
        while self._reply() not in (b"c", b"y", b"t", b"r"):
            pass

    def _reply(self) -> bytes:
        while len(self._buffer) < 4 or len(self._buffer) < 4 + struct.unpack("!I", self._buffer[:4])[0]:
            more = self._socket.recv(65536)
            if not more:
                raise SystemExit("scripts/bench: the milter closed the connection")
            self._buffer += more
        end = 4 + struct.unpack("!I", self._buffer[:4])[0]
        packet, self._buffer = self._buffer[4:end], self._buffer[end:]
        return packet[:1]


def _packet(command: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data) + 1) + command + data


def _messages(count: int, mark: str) -> Iterator[tuple[bytes, bytes]]:
    """Envelopes and headers with the end of the message; the same ones for the same `mark`."""
    chance = random.Random(mark)  # noqa: S311
    kinds = ((b"10.20.30.40", ""), (b"203.0.113.9", ""), (b"203.0.113.9", "fremd-"))
    for number in range(count):
        client, prefix = kinds[number % 3]
        sender = f"amt.fuer.statistik@{prefix}{domain(chance.randrange(_PARTNERS))}".encode()
        queue_id = f"{mark}{number:x}".encode()
        macros = (
            *(b"v", b"8.17.1.9", b"i", queue_id, b"f", sender, b"{client_addr}", client, b"{mail_addr}", sender),
            *(b"{tls_version}", b"TLSv1.3", b"{verify}", b"NO", b"{cn_subject}", b"", b"{cn_issuer}", b""),
        )
        envelope = _packet(b"D", b"M" + b"".join(each + b"\0" for each in macros))
        envelope += _packet(b"M", b"<" + sender + b">\0SIZE=4711\0")
        envelope += _packet(b"D", b"Ri\0" + queue_id + b"\0") + _packet(b"R", b"<office@city.example>\0")
        fields = (
            *((b"Received", b"from mx.example by gateway.example; Tue, 24 Nov 2026 03:00:00 +0000"),) * 3,
            *(
                (b"Date", b"Tue, 24 Nov 2026 03:00:00 +0000"),
                (b"Message-ID", b"<1@mx.example>"),
                (b"MIME-Version", b"1.0"),
            ),
            *((b"From", b"Amt <" + sender + b">"), (b"To", b"office@city.example"), (b"Subject", b"Statistik")),
            (b"Authentication-Results", b"gateway.city.example; spf=pass smtp.mailfrom=" + sender),
        )
        header = b"".join(_packet(b"L", name + b"\0" + value + b"\0") for name, value in fields)
        yield envelope, header + _packet(b"D", b"Ei\0" + queue_id + b"\0") + _packet(b"E", b"")


@contextmanager
def _bare(folder: Path) -> Iterator[int]:
    program = Path(__file__).with_name("bench_milter_bare.py")
    with server([executable, str(program), str(folder / "bare.sock")], folder / "bare.log") as pid:
        yield pid


@contextmanager
def _ours(folder: Path) -> Iterator[int]:
    """The process that listens, of the two that the milter has."""
    source, config = folder / "list", folder / "closedmail.toml"
    ListShape(_PARTNERS).write(source)
    table = f'[milter]\nlisten = ["unix:{folder}/milter.sock"]\nauthserv_id = "gateway.city.example"'
    text = configuration(folder / "state", source, more='signature = "none"', policyd=table)
    config.write_text(text.rstrip() + '\nheader_from = "enforce"\n')
    run(closedmail(config, "sync"))
    with server(closedmail(config, "milter"), folder / "log") as parent:
        connect(folder / "milter.sock").close()
        yield int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
