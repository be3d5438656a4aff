"""Divide names into stable portions: one name more or less changes one portion, or splits or joins one.

A portion is all names whose SHA-256 digests begin with the same bits; one that is too large is split by the next bit.
So it follows from the names alone, without the portions of the last time, and does not depend on a list's order.
"""

from collections.abc import Callable, Collection, Iterator
from hashlib import sha256


def _one(name: str) -> int:  # noqa: ARG001, all cost the same
    return 1


def portions(names: Collection[str], limit: int, cost: Callable[[str], int] = _one) -> Iterator[tuple[str, list[str]]]:
    """Yield portions of at most `limit` names: the bits that they have in common ("" for all), and the names, sorted.

    With `cost`, the limit is one for the sum of what the names cost; a name that costs more is a portion of its own.
    """
    digests = sorted((f"{int.from_bytes(sha256(name.encode()).digest()):0256b}", name) for name in set(names))
    yield from _split("", digests, limit, cost)


def _split(
    bits: str, digests: list[tuple[str, str]], limit: int, cost: Callable[[str], int]
) -> Iterator[tuple[str, list[str]]]:
    if len(digests) <= 1 or sum(cost(name) for _, name in digests) <= limit:
        if digests:
            yield bits, sorted(name for _, name in digests)
        return
    at = len(bits)
    for bit in "01":
        yield from _split(bits + bit, [pair for pair in digests if pair[0][at] == bit], limit, cost)
