"""Feed every parser of other people's bytes with mutants of real input.

Found is: an exception that is none of the parser's own, a call that takes longer than ten seconds, and an input whose
cost grows faster than its size (a bomb: one piece, repeated). Each finding is printed with what reproduces it, and the
exit status is 1 if there are any.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from fuzz_mutants import Bomb, Mutants
from fuzz_targets import TARGETS, FuzzTarget, corpus_of

_HANGS = 10  # seconds
_MOST_FINDINGS = 5  # of one parser
_SMALL, _LARGE = 8_000, 64_000  # bytes of a bomb
# Of eight times the size: so many times the time is more than linear, and below so many seconds it is noise.
_STEEP, _NOISE = 20, 0.2


class HangError(BaseException):
    """A call takes too long. No `except Exception` of a parser catches it."""


def run(target: FuzzTarget, data: bytes) -> float:
    """Parse once; return the seconds of CPU time that it took. Raises what the parser must not raise, and HangError."""
    signal.alarm(_HANGS)
    start = time.process_time()
    try:
        target.parse(data)
    except target.raises:
        pass
    finally:
        signal.alarm(0)
    return time.process_time() - start


def is_steep(target: FuzzTarget, bomb: Bomb) -> bool:
    """Check whether the cost of a bomb grows faster than its size, three times over."""
    for _ in range(3):
        small, large = run(target, bomb.of(_SMALL)), run(target, bomb.of(_LARGE))
        if large < _NOISE or large < _STEEP * small:
            return False
    return True


def fuzz(name: str, seed: int, go_on: Callable[[int], bool], *, timed: bool) -> tuple[int, list[str]]:
    """Fuzz one parser while `go_on(inputs)`; return how many inputs it got, and the findings."""
    target, mutants = TARGETS[name], Mutants(f"{name} {seed}", corpus_of(name))
    found: list[str] = []
    number = 0
    while go_on(number) and len(found) < _MOST_FINDINGS:
        number += 1
        bomb = mutants.bomb() if number % 4 == 0 else None
        data = bomb.of(_SMALL) if bomb else mutants.mutant()
        try:
            run(target, data)
            if bomb and timed and target.linear and is_steep(target, bomb):
                found.append(f"{name}: more than linear time: {bomb!r}")
        except HangError:
            found.append(f"{name}: takes more than {_HANGS} seconds: {bomb or data!r}")
        except Exception as error:  # any that the parser must not raise
            found.append(f"{name}: {type(error).__name__}: {error}: {bomb or data!r}")
    return number, found


def _hang(*_: object) -> None:
    raise HangError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="PARSER", help=f"default: all of {', '.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="in all (default: 10)")
    parser.add_argument("--inputs", type=int, help="so many for each parser in place of minutes; nothing is timed then")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same mutants")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"no such parser: {', '.join(unknown)}")
    signal.signal(signal.SIGALRM, _hang)
    print(f"seed {options.seed}")
    findings = 0
    for name in names:
        until = time.monotonic() + 60 * options.minutes / len(names)
        inputs, found = fuzz(
            name,
            options.seed,
            lambda number: time.monotonic() < until if options.inputs is None else number < options.inputs,  # noqa: B023  called at once
            timed=options.inputs is None,
        )
        findings += len(found)
        print(f"{name:16} {inputs:9} inputs, {len(found)} findings", flush=True)
        for text in found:
            print(f"  {text}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
