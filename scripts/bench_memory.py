"""Measure the memory of `closedmail policyd`, after requests about many partners.

RssAnon is its own, RssFile what it has read of files: the policy store, which is mapped and belongs to the page cache,
and program code. Pss counts what several processes share (libraries, the store) once in all.
"""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench_policy import ask, policyd, requests

_AIMS = {100_000: "60"}  # MiB of VmRSS
_BATCH = 10_000


def bench_memory(work: Path, sizes: Sequence[int], count: int) -> None:
    """Measure and print, at each number of partners, after `count` requests."""
    print(f"Memory of policyd after {count} requests, two thirds about partners of the list by chance; MiB")
    print(f"\n  {'partners':>12}{'RssAnon':>10}{'RssFile':>10}{'VmRSS':>10}{'aim':>6}{'Pss':>10}{'store':>10}")
    for partners in sizes:
        with ExitStack() as stack:
            subject = policyd(stack, work, partners)
            for start in range(0, count, _BATCH):
                ask(subject.connection, requests(partners, min(_BATCH, count - start), str(start)))
            process = Path("/proc") / str(subject.pids[0])
            status = process.joinpath("status").read_text()
            anon, file, all_of_it = (_mib(status, name) for name in ("RssAnon", "RssFile", "VmRSS"))
            pss = _mib(process.joinpath("smaps_rollup").read_text(), "Pss")
            store = (subject.path.parent / "state" / "store" / "data.mdb").stat().st_size / (1 << 20)
        print(
            f"  {partners:12}{anon:10.1f}{file:10.1f}{all_of_it:10.1f}{_AIMS.get(partners, ''):>6}{pss:10.1f}", end=""
        )
        print(f"{store:10.1f}")
    print()


def _mib(text: str, name: str) -> float:
    """A figure of a file below /proc that is in kB there."""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if not found:
        raise SystemExit(f"scripts/bench: the kernel does not report {name}")
    return int(found[1]) / 1024
