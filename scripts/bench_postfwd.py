"""`closedmail policyd` beside postfwd (Debian's package), both with the same 100 partners and the same requests.

postfwd is run as Debian starts it (its cache of 600 s, as no two mails are the same, has nothing to give), but without
its log, which favours it; closedmail's is on. A partner's rules are written in two ways: a rule for each partner, which
is the only one as soon as partners have addresses of their own, and one rule with the list of all domains, postfwd's
fastest. Both of its programs are measured: `postfwd1` answers in one process, `postfwd2` is what Debian starts.
"""

import grp
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median

from bench_common import domain
from bench_policy import Subject, ask, connect, one_cpu, policyd, ratio, requests

_PARTNERS = 100
_AIM = 50
_SLOWER = 30  # postfwd is asked this many times less in a round
_ALLOWED = "10.0.0.0/8"  # all of them are one network here: of several, postfwd would need two rules a partner
_REFUSE = "action=REJECT 5.7.1 Mail from $$sender_domain is accepted through ndb only"
_OPTIONS = ("--summary=600", "--cache=600", "--cache-rdomain-only", "--cache-no-size", "--nodns", "--perfmon")


def bench_postfwd(work: Path, rounds: int, count: int) -> None:
    """Measure and print: `rounds` alternating rounds of `count` requests, fewer of postfwd."""
    programs = [program for program in ("postfwd1", "postfwd2") if shutil.which(program)]
    if not programs:
        print("postfwd: not measured, as it is not installed: apt-get install postfwd\n")
        return
    fewer = max(3, count // _SLOWER)
    print(f"postfwd: {rounds} alternating rounds of {count} requests, {fewer} of postfwd, about {_PARTNERS} partners;")
    print("one connection; postfwd without its log; medians of CPU time and of all time a request")
    with ExitStack() as stack:
        stack.enter_context(one_cpu())
        ours = policyd(stack, work, _PARTNERS)
        theirs = [
            _postfwd(stack, work, program, name, rules)
            for program in programs
            for name, rules in (("a rule each", _rule_each()), ("one rule", _one_rule()))
        ]
        _compare_verdicts([ours, *theirs])
        for number in range(rounds):
            ours.measure(requests(_PARTNERS, count, str(number)))
            for subject in theirs:
                subject.measure(requests(_PARTNERS, fewer, str(number)))
    print(f"\n  {'':32}{'µs CPU':>8}{'requests/s':>12}{'CPU':>8}{'rate':>8}{'aim':>6}")
    print(f"  {ours.name:32}{median(ours.cpu):8.1f}{1e6 / median(ours.wall):12.0f}")
    for subject in theirs:
        print(f"  {subject.name:32}{median(subject.cpu):8.1f}{1e6 / median(subject.wall):12.0f}", end="")
        print(f"{ratio(subject.cpu, ours.cpu):8.1f}{ratio(subject.wall, ours.wall):8.1f}{_AIM:6}")
    print()


def _rule_each() -> str:
    return "".join(
        f"id=P{number:03}; sender_domain=={domain(number)}; client_address!={_ALLOWED}; {_REFUSE}\n"
        for number in range(_PARTNERS)
    )


def _one_rule() -> str:
    domains = "; ".join(f"sender_domain=={domain(number)}" for number in range(_PARTNERS))
    return f"id=ALL; {domains}; client_address!={_ALLOWED}; {_REFUSE}\n"


def _compare_verdicts(subjects: Sequence[Subject]) -> None:
    """Let all answer the same requests, as a warm-up too. Raises SystemExit unless their verdicts are the same."""
    batch = requests(_PARTNERS, 90, "warm")
    verdicts = {subject.name: [answer.split()[0] for answer in ask(subject.connection, batch)] for subject in subjects}
    for name, said in verdicts.items():
        if said != verdicts[subjects[0].name]:
            raise SystemExit(f"scripts/bench: {name} does not decide as closedmail does")


def _postfwd(stack: ExitStack, work: Path, program: str, name: str, rules: str) -> Subject:
    folder = work / f"{program}-{name.replace(' ', '-')}"
    folder.mkdir()
    path, file, pid_file = folder / "policy.sock", folder / "postfwd.cf", folder / "pid"
    file.write_text(rules)
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    command = [program, "--daemon", f"--file={file}", "--proto=unix", f"--port={path}", *_OPTIONS]
    command += [f"--user={user}", f"--group={group}", f"--pidfile={pid_file}"]
    if program == "postfwd2":
        command += ["--cache_proto=unix", f"--cache_port={folder}/cache.sock"]
    pid = stack.enter_context(_daemon(command, pid_file))
    connection = stack.enter_context(connect(path))
    ask(connection, requests(_PARTNERS, 3, "first"))  # all of its processes are there then
    return Subject(f"{program}, {name}", _PARTNERS, _session(pid), path, connection)


@contextmanager
def _daemon(command: Sequence[str], pid_file: Path) -> Iterator[int]:
    """Start a daemon that goes into a session of its own, give the id of both, and end all that is in it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text().strip()):
        if done.returncode or time.monotonic() > deadline:
            raise SystemExit(f"scripts/bench: {command[0]} does not start: {done.stdout} {done.stderr}")
        time.sleep(0.05)
    pid = int(pid_file.read_text())
    try:
        yield pid
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in _session(pid):
                with suppress(ProcessLookupError):
                    os.kill(process, number)
            deadline = time.monotonic() + 5
            while _session(pid) and time.monotonic() < deadline:
                time.sleep(0.05)


def _session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(int(process.name))
    return found
