"""The corpus of bad lists: made from real keys, once a session."""

import pytest

from support.signed_lists.bad_blocks import BAD_BLOCKS
from support.signed_lists.bad_detached import BAD_DETACHED
from support.signed_lists.bad_reasons import Bad, Files
from support.signed_lists.bad_shapes import BAD_SHAPES
from support.signed_lists.bad_signatures import BAD_SIGNATURES
from support.signed_lists.list_keys import Keys

BAD_LISTS: dict[str, Bad] = BAD_SHAPES | BAD_BLOCKS | BAD_SIGNATURES
assert len(BAD_LISTS) == len(BAD_SHAPES) + len(BAD_BLOCKS) + len(BAD_SIGNATURES)


class Corpus:
    """The files of the tables, each made when it is first asked for."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._made: dict[int, Files] = {}

    def files(self, bad: Bad) -> tuple[bytes, bytes | None]:
        """The list, and its detached signature if it is one of that table."""
        if id(bad) not in self._made:
            self._made[id(bad)] = bad.make(self.keys)
        made = self._made[id(bad)]
        return (made, None) if isinstance(made, bytes) else made


@pytest.fixture(scope="session")
def corpus(keys: Keys) -> Corpus:
    return Corpus(keys)


__all__ = ["BAD_DETACHED", "BAD_LISTS", "Corpus", "corpus"]
