"""Byte-level mutants of requests: the same ones for the same seed."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

# What is worth inserting: what the protocol lives on, what a careless reader would trip over.
_TOKENS = (
    *(b"\n", b"\n\n", b"=", b"\r\n", b"\x00", b"\xff", b" ", b"+", b"%", b"@", b".", b"..", b"!", b":", b'"', b"("),
    *(b"\\", b"action=OK\n\n", b"request=smtpd_access_policy\n", b"sender=\n", b"sender=", b"sasl_username=joe\n"),
    *(b"client_address=192.0.2.1\n", b"ccert_issuer=Closed+20Net+20CA\n", b"+C3+B6", b"\xc3\xb6", b"\xed\xa0\x80"),
    *(b"::ffff:", b"xn--", b".example", b"{domain}", b"%s%n", b"x" * 300),
)
_LONG = (b"=" * 70_000, b"y" * 66_000 + b"\n")
_WEIGHTY = (
    *(b"sender=", b"sender=", b"client_address=", b"ccert_", b"instance=", b"sasl_username=", b"encryption_protocol="),
)


class Mutator:
    """Makes mutants of a corpus."""

    def __init__(self, seed: object, corpus: Sequence[bytes]) -> None:
        """`seed` is anything that has a text."""
        self._chance = random.Random(str(seed))  # noqa: S311, the same mutants in every run
        self._corpus = corpus
        self._ways: tuple[Callable[[bytes], bytes], ...] = (
            *(self._flip, self._replace, self._delete, self._double, self._insert, self._truncate),
            *(self._splice, self._swap_lines, self._drop_line, self._repeat_line),
        )

    def mutant(self, request: bytes) -> bytes:
        """The request with one to four changes."""
        for _ in range(self._chance.choice((1, 1, 1, 2, 2, 3, 4))):
            request = self._chance.choice(self._ways)(request)
        return request

    def stream(self) -> bytes:
        """What somebody might send on one connection: one to three requests, one of them a mutant, or more."""
        chance, corpus = self._chance, self._corpus
        parts = [chance.choice(corpus) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
        at = chance.randrange(len(parts))
        return b"".join(
            self.mutant(part) if number == at or not chance.randrange(4) else part for number, part in enumerate(parts)
        )

    def pieces(self, data: bytes) -> list[bytes]:
        """The data cut anywhere, into at most eight."""
        cuts = sorted(self._chance.randrange(len(data) + 1) for _ in range(self._chance.randrange(8)))
        edges = [0, *cuts, len(data)]
        return [data[start:end] for start, end in pairwise(edges) if start < end]

    def _place(self, data: bytes) -> int:
        """Anywhere; every other time in a line that the decision depends on, unless it is gone."""
        if self._chance.randrange(2):
            start = data.find(self._chance.choice(_WEIGHTY))
            if start >= 0:
                return self._chance.randrange(start, max(data.find(b"\n", start), start + 1))
        return self._chance.randrange(len(data)) if data else 0

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + self._chance.choice((1, 1, 2, 5, 20, 100)))

    def _flip(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + bytes(byte ^ 1 << self._chance.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]

    def _replace(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._chance.randbytes(1) + data[at + 1 :]

    def _delete(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _double(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:end] + data[start:]

    def _insert(self, data: bytes) -> bytes:
        at = self._place(data)
        # The long ones are rare: they would be most of the bytes, and are always too long.
        token = self._chance.choice(_TOKENS if self._chance.randrange(100) else _LONG)
        return data[:at] + token + data[at:]

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._place(data)]

    def _splice(self, data: bytes) -> bytes:
        other = self._chance.choice(self._corpus)
        return data[: self._place(data)] + other[self._place(other) :]

    def _swap_lines(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        one, two = self._chance.randrange(len(lines)), self._chance.randrange(len(lines))
        lines[one], lines[two] = lines[two], lines[one]
        return b"\n".join(lines)

    def _drop_line(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        del lines[self._chance.randrange(len(lines))]
        return b"\n".join(lines)

    def _repeat_line(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        lines.insert(self._chance.randrange(len(lines)), self._chance.choice(lines))
        return b"\n".join(lines)
