"""Run other programs: never through a shell, with a time limit, and with their last output if they fail.

A program is the head of a session of its own, so that it can be ended with all that it has started.
"""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from closedmail.errors import ClosedmailError
from closedmail.words import excerpt

# Where Debian keeps what administrators run, which not every user's PATH has.
_ADMINISTRATORS = "/usr/sbin:/sbin"

# The package is the one that runs, whatever else the interpreter would find under its name.
_START = """\
import sys
from importlib.util import module_from_spec, spec_from_file_location
from runpy import run_module
folder, name = sys.argv[1:3]
del sys.argv[1:3]
spec = spec_from_file_location("closedmail", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["closedmail"] = package = module_from_spec(spec)
spec.loader.exec_module(package)
run_module(name, run_name="__main__", alter_sys=True)
"""


class ProgramError(ClosedmailError):
    """A program could not be run, did not end in time, or failed.

    `program` is its name, `status` its exit status (minus the signal that ended it, None where it did not end by
    itself), `words` the reason: the last line it printed, if any. The message begins with the whole command.
    """

    def __init__(self, command: Sequence[str], status: int | None, words: str, message: str = "") -> None:
        super().__init__(message or f"{shlex.join(command)}: {words}")
        self.program, self.status, self.words = command[0], status, words


class ProgramMissing(ProgramError):
    """A program is not installed; `package` has it ("" for a package of the same name)."""

    def __init__(self, program: str, package: str = "") -> None:
        words = f"{program} is not to be found: is {package or program} installed?"
        super().__init__([program], None, words, words)


@dataclass(frozen=True, slots=True)
class FinishedProgram:
    """A program that has come to its end. `stdout` is empty where it went to a file or to the terminal."""

    command: Sequence[str]
    status: int
    stdout: bytes
    stderr: bytes

    def error(self) -> ProgramError:
        """Make an error with the last line that it wrote to stderr, or else its exit status."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        end = f"killed by signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
        return ProgramError(self.command, self.status, excerpt(lines[-1]) if lines else end)


def run(
    command: Sequence[str],
    *,
    time_limit: float,
    stdin: bytes | Path = b"",
    stdout: Path | None = None,
    quiet: bool = True,
    package: str = "",
    env: Mapping[str, str] | None = None,
    accepted: Sequence[int] | None = (0,),
) -> FinishedProgram:
    """Run a program to its end, at most `time_limit` seconds.

    `stdin` is what it reads, or the file that it reads. What it prints is returned, or goes to the file `stdout`,
    from its beginning, or to the terminal unless `quiet`. `package` is what should be installed where the program is
    missing, `env` its environment (None: `environment()`), `accepted` which exit statuses are no failure (None: all).

    Raises ProgramError, and OSError where one of the two files can't be opened.
    """
    with ExitStack() as stack:
        source: IO[bytes] | int = subprocess.PIPE if stdin else subprocess.DEVNULL
        if isinstance(stdin, Path):
            source = stack.enter_context(stdin.open("rb"))
        file = None
        if stdout is not None:
            file = stack.enter_context(open(os.open(stdout, os.O_WRONLY | os.O_CREAT, 0o644), "wb"))
        channel = subprocess.PIPE if quiet else None
        process = _start(
            command, package, stdin=source, stdout=file or channel, stderr=channel, env=env or environment()
        )
        with process:  # closes the pipes, and waits for what was killed
            try:
                said, complained = process.communicate(stdin if isinstance(stdin, bytes) else None, time_limit)
            except subprocess.TimeoutExpired:
                raise ProgramError(command, None, f"did not end in time ({time_limit:g} seconds)") from None
            finally:
                kill(process)
        if file:
            # The program wrote through this very file: older content is cut off where its output ends.
            file.truncate(os.lseek(file.fileno(), 0, os.SEEK_CUR))
    ended = FinishedProgram(command, process.returncode, said or b"", complained or b"")
    if accepted is not None and ended.status not in accepted:
        raise ended.error()
    return ended


def _start(command: Sequence[str], package: str, **how: Any) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, start_new_session=True, **how)
    except FileNotFoundError:
        raise ProgramMissing(command[0], package) from None
    except OSError as error:
        raise ProgramError(command, None, error.strerror or str(error)) from None


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a program that heads a session of its own, with all that it has started; nothing where it has ended."""
    if process.returncode is None:  # not waited for yet, so the number is still its own
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def read_output(command: Sequence[str], env: Mapping[str, str], most: int, package: str = "") -> bytes:
    """Run a program beside other tasks, and return what it prints to stdout and stderr, at most `most` bytes.

    It is ended then, as it is where the task is cancelled, by which the caller sets a time limit. Raises ProgramError
    where it can't be run; its exit status is ignored.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # By itself asyncio ends the program alone, and what that has started by then goes on.
        with suppress(OSError):
            await _end(await starting)
        raise
    except FileNotFoundError:
        raise ProgramMissing(command[0], package) from None
    except OSError as error:
        raise ProgramError(command, None, error.strerror or str(error)) from None
    said, output = b"", process.stdout
    try:
        while output and len(said) < most and (piece := await output.read(most - len(said))):
            said += piece
    finally:
        await _end(process)
    return said


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()  # to the end of the pipe, or asyncio closes it when its loop is gone


def environment() -> dict[str, str]:
    """Our environment, with the administrator's programs in its PATH.

    An empty PATH is none: with something behind it, it would be the current folder, which may be anybody's.
    """
    return {**os.environ, "PATH": f"{os.environ.get('PATH') or os.defpath}:{_ADMINISTRATORS}"}


def find(name: str) -> str | None:
    """Find a program in the PATH, or among the administrator's; None where it is missing."""
    return shutil.which(name, path=environment()["PATH"])


def own_module(name: str, *arguments: str) -> list[str]:
    """Make the command that runs a module of this package in another interpreter: this one's code and no other.

    `python -m` looks into the current folder first, which may be anybody's. Root does without all that environment
    variables and a home directory may add, too.
    """
    isolated = "-I" if os.geteuid() == 0 else "-P"
    return [sys.executable, isolated, "-c", _START, str(Path(__file__).parent), name, *arguments]
