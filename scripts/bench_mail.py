"""The mail rate of a running Postfix with and without the check, set as in postfix-examples.

A private Postfix takes mail of a partner from smtp-source and relays it to smtp-sink, as a gateway does, until its
queue is empty. Three listeners differ in the check alone: none, closedmail's, and one that asks the bare responder,
which shows the cost of the question itself. All answers let the mail pass; each mail is asked about twice, at RCPT
and at DATA.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles
from sys import executable

from bench_common import ListShape, closedmail, configuration, cpu_seconds, domain, run, server
from bench_policy import connect
from support.private_postfix import PrivatePostfix

from closedmail.demo.ports import free_port
from closedmail.demo.postfix_configuration import SmtpdListener
from closedmail.errors import ClosedmailError

_AIM = "-3 %"
_NONE, _OURS, _BARE, _AGAIN = "without", "with closedmail", "with a bare responder", "without, once more"
_TURN = (_NONE, _OURS, _AGAIN, _BARE)
# Each is compared with the runs next to it; `without` with itself shows the precision of the measure.
_BESIDE = {_AGAIN: (_NONE,), _OURS: (_NONE, _AGAIN), _BARE: (_AGAIN,)}


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one run of smtp-source: messages, how many sessions at a time, bytes of each message."""

    messages: int = 2_000
    sessions: int = 20
    size: int = 20_000


def bench_mail(work: Path, turns: int, load: Load, partners: int) -> None:
    """Measure and print: `turns` alternating turns of `load`."""
    commands = ("postfix", "smtp-source", "smtp-sink")
    if os.geteuid() or not all(map(shutil.which, commands)):
        print("mail: not measured, as it needs root and Postfix: apt-get install postfix postfix-lmdb\n")
        return
    print(
        f"Mail: {turns} alternating turns of {load.messages} messages of {load.size} bytes, {load.sessions} sessions,"
    )
    print(f"relayed until the queue is empty; closedmail with {partners} partners, logging to a file; medians")
    work.chmod(0o711)  # Postfix's processes come back to their queue by its path
    try:
        with ExitStack() as stack:
            bench = _Bench(stack, work / "mail", load, partners)
            for name in _TURN:
                bench.measure(name)
            taken = [{name: bench.measure(name) for name in _TURN} for _ in range(turns)]
    except ClosedmailError as error:
        raise SystemExit(f"scripts/bench: {error}") from None
    print(
        f"\n  {'':26}{'mails/s':>8}{'beside without':>16}{'half of them':>18}{'aim':>7}{'µs CPU: Postfix':>18}", end=""
    )
    print(f"{'the check':>11}")
    for name in (_NONE, _AGAIN, _OURS, _BARE):
        rate, postfix, check = (median(getattr(turn[name], what) for turn in taken) for what in _Run.__slots__)
        print(f"  {name:26}{rate:8.0f}{_beside(taken, name):>34}{_AIM if name == _OURS else '':>7}", end="")
        print(f"{postfix:18.0f}{check:11.0f}")
    print()


def _beside(taken: Sequence[Mapping[str, "_Run"]], name: str) -> str:
    """Its rate beside that without a check, in per cent: the median over turns, and the quartiles."""
    if name not in _BESIDE:
        return ""
    parts = sorted(turn[name].rate / mean(turn[other].rate for other in _BESIDE[name]) * 100 - 100 for turn in taken)
    low, middle, high = quantiles(parts, method="inclusive") if len(parts) > 1 else parts * 3
    return f"{middle:+.1f} %" + f"{low:+.1f} to {high:+.1f}".rjust(18)


@dataclass(frozen=True, slots=True)
class _Run:
    """Mails a second, and microseconds of CPU a mail, of all Postfix processes and of who answered them."""

    rate: float
    postfix: float
    check: float


class _Bench:
    def __init__(self, stack: ExitStack, folder: Path, load: Load, partners: int) -> None:
        folder.mkdir(mode=0o755)
        self._load = load
        sink = free_port()
        ours, bare = _check("closedmail/policy.sock"), _check("closedmail/bare.sock")
        self._postfix = PrivatePostfix(
            folder / "postfix",
            {**ours, "local_transport": f"smtp:[127.0.0.1]:{sink}"},
            listeners=[
                SmtpdListener(options={"smtpd_sender_restrictions": "", "smtpd_data_restrictions": ""}),
                SmtpdListener(),
                SmtpdListener(options={"closedmail_check": bare["closedmail_check"]}),
            ],
        )
        stack.enter_context(server(["smtp-sink", "-u", "nobody", f"127.0.0.1:{sink}", "100"], folder / "sink.log"))
        stack.enter_context(self._postfix)
        self._queue = self._postfix.queue_directory
        policyd = server(_policyd(folder, self._queue / "closedmail" / "policy.sock", partners), folder / "policyd.log")
        self._pids = {_OURS: stack.enter_context(policyd)}
        connect(self._queue / "closedmail" / "policy.sock").close()
        program, socket = Path(__file__).with_name("bench_responder.py"), self._queue / "closedmail" / "bare.sock"
        responder = server([executable, str(program), str(socket)], folder / "bare.log")
        self._pids[_BARE] = stack.enter_context(responder)
        connect(socket).close()
        socket.chmod(0o666)
        ports = [listener.port for listener in self._postfix.listeners]
        self._ports = {_NONE: ports[0], _AGAIN: ports[0], _OURS: ports[1], _BARE: ports[2]}

    def measure(self, name: str) -> _Run:
        """One run with that check."""
        load = self._load
        command = ["smtp-source", "-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)]
        command += ["-f", f"amt@{domain(7)}", "-t", "poststelle@city.example", f"127.0.0.1:{self._ports[name]}"]
        check = self._clock(name)
        postfix, answered, started = self._postfix_cpu(), check(), time.monotonic()
        subprocess.run(command, check=True, timeout=600, stdin=subprocess.DEVNULL)
        while any(files for kind in ("incoming", "active", "deferred") for *_, files in os.walk(self._queue / kind)):
            time.sleep(0.01)
        rate = load.messages / (time.monotonic() - started)
        of_postfix, of_check = self._postfix_cpu() - postfix, check() - answered
        return _Run(rate, of_postfix / load.messages * 1e6, of_check / load.messages * 1e6)

    def _clock(self, name: str) -> Callable[[], float]:
        pid = self._pids.get(name)
        return (lambda: cpu_seconds(pid)) if pid else (lambda: 0.0)

    def _postfix_cpu(self) -> float:
        """CPU seconds of master(8) and its children, the ended ones to a hundredth of a second each."""
        master = int((self._queue / "pid" / "master.pid").read_text())
        ended = Path(f"/proc/{master}/stat").read_text().rpartition(")")[2].split()[13:15]
        total = sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for pid in (master, *map(int, children)):
            with suppress(OSError):
                total += cpu_seconds(pid)
        return total


def _check(socket: str) -> Mapping[str, str]:
    """The settings of postfix-examples, with that socket."""
    action = "{ default_action = 451 4.3.5 The check for closed networks does not answer }"
    return {
        "closedmail_check": f"check_policy_service {{ unix:{socket}, timeout=10s, {action} }}",
        "smtpd_sender_restrictions": "$closedmail_check",
        "smtpd_data_restrictions": "$closedmail_check",
        "smtpd_delay_reject": "yes",
    }


def _policyd(folder: Path, socket: Path, partners: int) -> list[str]:
    source, config = folder / "list", folder / "closedmail.toml"
    ListShape(partners).write(source)
    policyd = f'[policyd]\nlisten = ["unix:{socket}"]\nsocket_group = "postfix"'
    config.write_text(configuration(folder / "state", source, more='signature = "none"', policyd=policyd))
    run(closedmail(config, "sync"))
    return closedmail(config, "policyd")
