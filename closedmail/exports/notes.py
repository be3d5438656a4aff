"""Note what an export could not express: reasons, how many keys each is about, and the first of them."""

from collections.abc import Iterator

from closedmail.words import counted

_SHOWN = 20


class Notes:
    """Reasons in the order in which they first came up; memory is bounded by the number of reasons."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, reason: str, key: str = "") -> None:
        """Note a reason, about a key where there is one."""
        self._counts[reason] = self._counts.get(reason, 0) + (key != "")
        first = self._first.setdefault(reason, [])
        if key and len(first) < _SHOWN:
            first.append(key)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def lines(self) -> Iterator[str]:
        """Yield one line a reason; at most 20 keys of each."""
        for reason, count in self._counts.items():
            if not count:
                yield f"{reason}."
                continue
            more = f", … and {count - _SHOWN} more" if count > _SHOWN else ""
            yield f"{reason} ({counted(count, 'domain')}): {', '.join(self._first[reason])}{more}"
