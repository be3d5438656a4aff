"""Measures closedmail beside the least that could do its job, and prints ratios; figures only, never a verdict.

`decisions`: CPU time a decision of `closedmail policyd`, beside a bare asyncio responder, and at 100 and 100,000
partners. `postfwd`: the same beside postfwd, which has to be installed. `latency`: how long requests wait, at 1 to 500
connections. `memory`: of policyd, at 100 to 1,000,000 partners. `mail`: the mail rate of a private Postfix with and
without the check; it needs root, and a machine that does nothing else. `milter`: CPU time a message of `closedmail
milter`, beside libmilter alone. `sync`: `closedmail sync` of a signed list, beside awk and two postmaps on the same
list; it needs gpg, awk and Postfix's postmap and postconf, none of them set up. Everything happens in a temporary
directory.
"""

import argparse
import compileall
import os
import sys
import tempfile
from pathlib import Path

# The checkout's closedmail and tests/support, here and in every process to come.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])

from bench_common import ListShape
from bench_decisions import bench_decisions
from bench_latency import bench_latency
from bench_mail import Load, bench_mail
from bench_memory import bench_memory
from bench_milter import bench_milter
from bench_postfwd import bench_postfwd
from bench_sync import bench_sync

import closedmail

_KINDS = ("decisions", "postfwd", "latency", "memory", "mail", "milter", "sync")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="all", choices=[*_KINDS, "all"])
    parser.add_argument(
        "--rounds",
        type=int,
        help="alternating rounds (default: 41, 11 of milter, 7 of postfwd, 5 of latency, 10 of mail, 3 of sync)",
    )
    parser.add_argument("--requests", type=int, default=3_000, help="requests a round (default: %(default)s)")
    parser.add_argument(
        "--connections", type=int, action="append", help="of latency; may be repeated (default: 1, 20, 100 and 500)"
    )
    parser.add_argument(
        "--partners",
        type=int,
        action="append",
        help="of latency, memory and mail (default: 100000); may be repeated for memory (default: 100 and 1000000 too)",
    )
    parser.add_argument("--messages", type=int, default=2_000, help="of a run of mail (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=20, help="of mail at a time (default: %(default)s)")
    parser.add_argument("--size", type=int, default=20_000, help="bytes of a message of mail (default: %(default)s)")
    parser.add_argument(
        "--lines", type=int, action="append", help="size of the list; may be repeated (default: 100000 and 1000000)"
    )
    parser.add_argument("--nexthops", type=int, default=20_000, help="addresses it routes to (default: %(default)s)")
    parser.add_argument("--random", action="store_true", help="the list is not in the order of its domains")
    parser.add_argument("--map-type", default="", help="of the Postfix maps (default: the machine's own)")
    options = parser.parse_args()
    partners = options.partners or [100, 1_000_000, 100_000]
    _as_installed()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        if options.what in ("decisions", "all"):
            bench_decisions(work, options.rounds or 41, options.requests)
        if options.what in ("postfwd", "all"):
            bench_postfwd(work, options.rounds or 7, options.requests)
        if options.what in ("latency", "all"):
            connections = options.connections or [1, 20, 100, 500]
            bench_latency(work, options.rounds or 5, options.requests, connections, partners[-1])
        if options.what in ("memory", "all"):
            bench_memory(work, sorted(partners), options.requests * 20)
        if options.what in ("mail", "all"):
            load = Load(options.messages, options.sessions, options.size)
            bench_mail(work, options.rounds or 10, load, partners[-1])
        if options.what in ("milter", "all"):
            bench_milter(work, options.rounds or 11, options.requests)
        if options.what in ("sync", "all"):
            for lines in options.lines or [100_000, 1_000_000]:
                sample = ListShape(lines, options.nexthops, options.random)
                bench_sync(work, sample, options.rounds or 3, options.map_type)


def _as_installed() -> None:
    """Let the Python processes to come run as those of an installed package: compiled beforehand, output buffered."""
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        os.environ.pop(name, None)
    compileall.compile_dir(Path(closedmail.__file__).parent, quiet=2)


if __name__ == "__main__":
    main()
