"""Mutants of a corpus, and bombs: inputs that grow by repeating one piece. The same ones for the same seed."""

import random
from collections.abc import Sequence
from typing import NamedTuple

# What the parsers live on, and what a careless one trips over.
_TOKENS = (
    *(bytes([char]) for char in b"\n\r\0\xff \t=:,;@.%!#\"'\\()[]{}<>/$-+?*|~0"),
    *(b"\r\n", b"..", b"${", b"$(", b"=?utf-8?q?", b"=?utf-8?b?", b"?=", b"xn--", b"xn--a", b".example", b"esmtp:"),
    *(
        b"error:",
        b"local:",
        b"[192.0.2.1]",
        b"[IPv6:2001:db8::1]",
        b"::ffff:",
        b"+C3+B6",
        b"-1",
        b"9" * 20,
        b"9" * 5000,
    ),
    *(b"1e999", b"Nov 30 ", b"smtpd[1]: ", b"x" * 300, b"\x80" * 50, b"''' ", b'""" '),
    b"-----BEGIN PGP MESSAGE-----",
    *(
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n-1\r\n",
        b"0\r\n",
    ),
    *(b"\r\n1;x\r\na", b"\r\nffffffffffffffff\r\n", b"Content-Length: -1\r\n", b"Location: //[::1\r\n"),
    *(b"\xc3\xb6", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85", b"\x30\x80", b"\x30\x84"),
    *(char.encode() for char in "\u1e9e\ufdfa\u00ad\u1806\u0301\uff0e\uff20\U0001cce0"),
)


class Bomb(NamedTuple):
    """An input that can be made as large as one likes."""

    head: bytes
    piece: bytes
    tail: bytes

    def of(self, size: int) -> bytes:
        """Make it of about so many bytes."""
        return self.head + self.piece * max(1, (size - len(self.head) - len(self.tail)) // len(self.piece)) + self.tail


class Mutants:
    """Makes mutants of a corpus. `seed` is anything that has a text."""

    def __init__(self, seed: object, corpus: Sequence[bytes]) -> None:
        self._chance = random.Random(str(seed))  # noqa: S311, the same mutants in every run
        self._corpus = corpus

    def mutant(self) -> bytes:
        """One of the corpus with one to six changes."""
        data = self._chance.choice(self._corpus)
        for _ in range(self._chance.choice((1, 1, 2, 3, 6))):
            data = self._changed(data)
        return data

    def bomb(self) -> Bomb:
        """One of the corpus, cut anywhere, with a piece in between that repeats."""
        chance = self._chance
        data = chance.choice(self._corpus)
        at = chance.randrange(len(data) + 1)
        piece = b"".join(self._piece(data) for _ in range(chance.choice((1, 1, 2, 3))))
        return Bomb(data[:at], piece or b" ", chance.choice((data[at:], b"", b"\n", data)))

    def _piece(self, data: bytes) -> bytes:
        if data and self._chance.randrange(2):
            start = self._chance.randrange(len(data))
            return data[start : start + self._chance.choice((1, 2, 5, 20))]
        return self._chance.choice(_TOKENS)

    def _changed(self, data: bytes) -> bytes:
        chance = self._chance
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 5, 20, 200)))
        match chance.randrange(7):
            case 0:  # a bit
                return (
                    data[:start]
                    + bytes(byte ^ 1 << chance.randrange(8) for byte in data[start : start + 1])
                    + data[start + 1 :]
                )
            case 1:  # cut out
                return data[:start] + data[end:]
            case 2:  # twice, or many times
                return data[:start] + data[start:end] * chance.choice((2, 2, 3, 50)) + data[end:]
            case 3:  # cut off
                return data[:start]
            case 4:  # spliced
                other = chance.choice(self._corpus)
                return data[:start] + other[chance.randrange(len(other) + 1) :]
            case 5:  # any byte
                return data[:start] + chance.randbytes(1) + data[end:]
            case _:
                return data[:start] + chance.choice(_TOKENS) + data[end:]
