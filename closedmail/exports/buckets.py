"""Names in portions that stay what they are: one name more or less changes one portion, or splits or joins one.

A portion is all names whose SHA-256 digests begin with the same bits; one that is too large is split by the next bit.
So it is told by the names alone, without knowing the portions of the last time, and a list's order has no part in it.
"""

from collections.abc import Collection, Iterator
from hashlib import sha256


def portions(names: Collection[str], limit: int) -> Iterator[tuple[str, list[str]]]:
    """Portions of at most `limit` names: the bits that they have in common ("" for all), and the names, sorted."""
    digests = sorted((f"{int.from_bytes(sha256(name.encode()).digest()):0256b}", name) for name in set(names))
    yield from _split("", digests, limit)


def _split(bits: str, digests: list[tuple[str, str]], limit: int) -> Iterator[tuple[str, list[str]]]:
    if len(digests) <= limit:
        if digests:
            yield bits, sorted(name for _, name in digests)
        return
    at = len(bits)
    for bit in "01":
        yield from _split(bits + bit, [pair for pair in digests if pair[0][at] == bit], limit)
