"""Bound what the readings of one sender or one message may cost: whoever writes it chooses how hard it is to read."""


class TooMuchToRead(ValueError):
    """The text can be read in more ways, or is longer, than anybody's honest one."""


class ReadingBudget:
    """What may be spent on one sender or message, in units of about a microsecond on a small server."""

    __slots__ = ("_left",)

    def __init__(self, units: int) -> None:
        self._left = units

    def spend(self, units: int) -> None:
        """Take units away, before the work that they stand for is done. Raises TooMuchToRead when none are left."""
        self._left -= units
        if self._left < 0:
            raise TooMuchToRead("it can be read in too many ways")
