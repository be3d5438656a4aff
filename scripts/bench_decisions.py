"""CPU time for each decision of `closedmail policyd`, beside a bare asyncio responder with the same requests."""

from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench_policy import ask, one_cpu, policyd, ratio, requests, responder

_FEW, _MANY = 100, 100_000  # partners
_WARM_UP = 2_000  # requests before the first round


def bench_decisions(work: Path, rounds: int, count: int) -> None:
    """Measure and print: `rounds` alternating rounds of `count` requests."""
    print(f"Decisions: {rounds} alternating rounds of {count} requests, a third each of a partner's right address,")
    print("a partner's wrong address and strangers; one connection, logging to a file; medians of CPU time a request")
    with ExitStack() as stack:
        stack.enter_context(one_cpu())
        bare, used = responder(stack, work), responder(stack, work, used=True)
        few, many = policyd(stack, work, _FEW), policyd(stack, work, _MANY)
        for subject in (bare, used, few, many):
            ask(subject.connection, requests(subject.partners, _WARM_UP, "warm"))
        for number in range(rounds):
            for subject in (bare, used, few, many):
                subject.measure(requests(subject.partners, count, str(number)))
    print(f"\n  {'':32}{'µs':>8}{'beside bare':>14}{'aim':>8}")
    print(f"  {bare.name:32}{median(bare.cpu):8.1f}")
    print(f"  {used.name:32}{median(used.cpu):8.1f}{ratio(used.cpu, bare.cpu):14.2f}")
    for subject in (few, many):
        print(f"  {subject.name:32}{median(subject.cpu):8.1f}{ratio(subject.cpu, bare.cpu):14.2f}{'1.8':>8}")
    print(f"  {f'{_MANY} beside {_FEW} partners':32}{'':8}{ratio(many.cpu, few.cpu):14.2f}{'1.15':>8}\n")
