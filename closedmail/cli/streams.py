"""Keep errors on standard output and standard error from ending a command.

Python raises where a descriptor accepts nothing (a full disk, a pipe whose reader has gone). A command would stop half
way through its work, and what is still buffered at its end would make the exit status 120 (Py_FinalizeEx). Here the
bytes are dropped, the error is remembered, and the command goes on.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class _Descriptor(io.FileIO):
    """A descriptor that accepts whatever is written. `lost` is the newest error; None: all bytes were written."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            return memoryview(data).nbytes


def take_over_streams() -> None:
    """Make stdout and stderr accept whatever is written, even if closed or in a locale that lacks characters.

    Streams that are no files of Python's own (a test's) are left alone.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, to the end
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _steady(stream))


def _steady(stream: io.TextIOWrapper) -> TextIO:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        newline="\n",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def lost_output() -> OSError | None:
    """Write what stdout still buffers; return the error that has kept any output from being written, or None."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    descriptor = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return descriptor.lost if isinstance(descriptor, _Descriptor) else None


def status_after(status: int) -> tuple[int, str]:
    """Return the final exit status of a command that ends with `status`, and a message on lost output ("": none lost).

    A reader that has gone, such as head(1), has what it wanted.
    """
    error = lost_output()
    if error is None or error.errno == errno.EPIPE:
        return status, ""
    return status or 1, f"standard output: {error.strerror or error}"
