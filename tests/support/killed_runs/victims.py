"""Runs of `sync` that are killed with SIGKILL: by strace before a system call, at an instant, or by way of a child.

How strace counts, and what that means here: `inject=CALLS:when=N` has a count for each system call by its name and for
each thread, so that N over a set of calls only ever reaches the call that comes to N first. So each name is counted by
itself, in the main process alone (without `-f`: a child that comes to N first would be hit instead); children are hit
through a program in front of the PATH. SIGKILL comes before the call is executed: what is killed before each call of a
set that has every call that changes a file is also killed after each. `--seccomp-bpf`, which would be faster, loses the
signal: the kernel drops one that is injected at a seccomp stop. So strace attaches to a run that has its modules.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from support.killed_runs.watching import must
from support.network import Site, put_program

# All calls that change a file or a folder, but for those that open one: an empty file is no more than its name.
CALLS = (
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "fsync", "fdatasync", "msync", "sync_file_range", "truncate", "ftruncate"),
    *("fallocate", "write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range"),
    *("chmod", "fchmod", "fchmodat", "utimensat"),
)
# Forks a run for each line, the PATH that it gets. The run stops itself, so that strace can attach to it; its process
# number is told, then its exit status.
_SERVER = """
import os, signal, sys
import closedmail.cli.sync_command
from closedmail.cli.main import main
{patch}
orders = os.fdopen(os.dup(0), "r")
for line in iter(orders.readline, ""):
    run = os.fork()
    if not run:
        os.environ["PATH"] = line.rstrip()
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        os.dup2(os.open({errors!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.kill(os.getpid(), signal.SIGSTOP)
        main()
    os.waitpid(run, os.WUNTRACED)
    print(run, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]), flush=True)
"""


class ChildCall(NamedTuple):
    """Call number `nth` by its name in the `run`-th process of a program that one sync starts."""

    program: str
    run: int
    call: str
    nth: int


class Victims:
    """Each run is a fork of a process that has loaded closedmail, and has executed the Python `patch`.

    Methods run `sync` once, and give its exit status: minus SIGKILL where it was killed.
    """

    def __init__(self, site: Site, patch: str) -> None:
        self._site = site
        self._errors, self._log = site.folder / "errors", site.folder / "strace.log"
        self._run = 0
        command = site.command("sync")
        self._server = subprocess.Popen(
            [command[0], "-c", _SERVER.format(patch=patch, errors=str(self._errors)), *command[3:]],
            env=site.environment(PYTHONDONTWRITEBYTECODE="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End what runs."""
        if self._run:
            with suppress(ProcessLookupError):
                os.kill(self._run, signal.SIGKILL)
        self._server.kill()
        self._server.communicate()

    def whole(self) -> int:
        """Nobody kills it."""
        return self._end(self._start())

    def before(self, call: str, nth: int) -> int:
        """Killed before the main process makes a system call for the `nth` time."""
        process = self._start()
        with traced(process, call, f"-einject={call}:signal=KILL:when={nth}"):
            return self._end(process)

    def at(self, instant: float) -> int:
        """Killed after so many seconds, unlike its children."""
        process = self._start()
        os.kill(process, signal.SIGCONT)
        time.sleep(instant)
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        return self._end(process)

    def with_child(self, place: ChildCall, *, alone: bool) -> int:
        """A child is killed before a call, and the run with it unless `alone`."""
        real, folder = shutil.which(place.program), self._site.folder / "bin"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        put_program(
            folder / place.program,
            f"""#!/bin/sh
            echo >>{folder}/runs
            [ $(wc -l <{folder}/runs) = {place.run} ] || exec {real} "$@"
            strace -o /dev/null -e trace={place.call} \\
                -e inject={place.call}:signal=KILL:when={place.nth} {real} "$@"
            status=$?
            [ $status -lt 128 ] || touch {folder}/killed
            [ $status -lt 128 ] || {"true" if alone else "kill -KILL $PPID"}
            exit $status
            """,
        )
        status = self._end(self._start(f"{folder}:{os.environ['PATH']}"))
        must((folder / "killed").exists(), f"{place} is never reached")
        return status

    def literally(self, calls: str, nth: int) -> int:
        """From the command line under `strace -f`: whichever process makes a call for the `nth` time dies."""
        return self._strace(f"-o{os.devnull}", f"-etrace={calls}", f"-einject={calls}:signal=KILL:when={nth}")

    # Runs that nobody kills, to see what there is.

    def note_calls(self) -> int:
        """For `calls`."""
        process = self._start()
        with traced(process, ",".join(CALLS), f"-o{self._log}"):
            return self._end(process)

    def calls(self) -> Counter[str]:
        """How often the main process made which calls."""
        return Counter(re.findall(r"^(\w+)\(", self._log.read_text(), re.MULTILINE))

    def note_child_calls(self) -> int:
        """For `child_calls`."""
        return self._strace("-yy", f"-o{self._log}", f"-etrace=execve,{','.join(CALLS)}")

    def child_calls(self, *programs: str) -> list[ChildCall]:
        """The calls that children made, but for writes into pipes, which change no file."""
        names: dict[str, tuple[str, int]] = {}
        runs: Counter[str] = Counter()
        nths: Counter[tuple[str, str]] = Counter()
        found = []
        for process, call, rest in re.findall(r"^(\d+) +(\w+)\((.*)", self._log.read_text(), re.MULTILINE):
            if call == "execve":
                program = Path(rest.split('"')[1]).name
                if process not in names:  # else it goes through the PATH
                    runs[program] += 1
                names[process] = (program, runs[program])
                continue
            nths[process, call] += 1
            if names[process][0] in programs and "<pipe:" not in rest.split(",")[0]:
                found.append(ChildCall(*names[process], call, nths[process, call]))
        return found

    def _strace(self, *options: str) -> int:
        command = ["strace", "-f", *options, *self._site.command("sync")]
        environment = self._site.environment(PYTHONDONTWRITEBYTECODE="1")
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    def _start(self, path: str = "") -> int:
        """The process number of a run that has stopped before it has done anything."""
        assert self._server.stdin
        self._server.stdin.write(f"{path or os.environ['PATH']}\n")
        self._server.stdin.flush()
        self._run = self._answer()
        return self._run

    def _end(self, process: int) -> int:
        """Let a run go on, if it has not yet, and wait for its end; its exit status."""
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
        status = self._answer()
        self._run = 0
        errors = self._errors.read_text()
        must(status in (0, 1, -signal.SIGKILL) and "Traceback" not in errors, errors)
        return status

    def _answer(self) -> int:
        assert self._server.stdout
        return int(self._server.stdout.readline())


@contextmanager
def traced(process: int, calls: str, *options: str) -> Iterator[None]:
    """strace attached to a process, until that ends."""
    command = ["strace", f"-o{os.devnull}", f"-etrace={calls}", *options, f"-p{process}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr
        said = tracer.stderr.readline()
        must("attached" in said, said)
        yield
