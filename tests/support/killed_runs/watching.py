"""Readers that look without pause, in processes of their own, at what `sync` puts in force: all maps, and the daemon.

List number k is generation number k. Each has other nexthops than the one before, so that a row shows from which list
it is, and the readers know which two lists may be in force at an instant.
"""

import multiprocessing
import os
import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from support.daemon import PolicyClient
from support.network import Site, nexthops, text_rows

PARTNERS = [f"p{n:02}.example" for n in range(12)]
NEVER_ALLOWED = "203.0.113.9"
REJECT_TEXT = "list {generation} is in force"
_REJECTED = re.compile(r"REJECT 5\.7\.1 list (\d+) is in force")
NICE = 19  # two processors have to do for all of it, and the run is what has to come on
_PATIENCE = 60.0  # seconds; only a test that fails waits so long
_ROUNDS_PER_CONNECTION = 7


class Violation(Exception):
    """A reader saw what must never be seen, or a run left what must not be left."""


def address(number: int, at: int) -> str:
    """The route host of partner number `at` in list `number`; no two lists share one."""
    return f"2001:db8:{number:x}::{at + 1:x}"


def hosts(number: int) -> dict[str, list[str]]:
    """The route hosts of all partners in a list: some have two, one comes and goes, one goes back and forth."""
    found = {partner: [address(number, at)] for at, partner in enumerate(PARTNERS)}
    for partner in PARTNERS[::3]:
        found[partner].append(address(number, PARTNERS.index(partner) + 100))
    found["back-and-forth.example"] = [f"192.0.2.{1 + number % 2}"]
    if number % 2:
        found["odd.example"] = [address(number, 200)]
    return found


def listing(number: int) -> str:
    """The list as its network writes it."""
    lines = (
        f"{domain} esmtp:{':'.join(f'[IPv6:{host}]' if ':' in host else f'[{host}]' for host in found)}\n"
        for domain, found in hosts(number).items()
    )
    return "".join(lines)


def expected(number: int) -> dict[str, str]:
    """The transport rows that the list comes to."""
    return {domain: "smtp:" + ", ".join(f"[{host}]" for host in found) for domain, found in hosts(number).items()}


def must(holds: object, what: str) -> None:
    """Raise Violation unless it holds."""
    if not holds:
        raise Violation(what)


class Watch:
    """`with Watch(site, where) as watch:` looks until the block ends. Lists `low` to `high` may be seen."""

    def __init__(self, site: Site, where: str) -> None:
        self._site, self._where = site, where
        fork = multiprocessing.get_context("fork")
        self._bounds = fork.RawArray("q", [1, 1])
        self._stop = fork.RawValue("b", 0)
        self._readers: list[tuple[str, Connection, multiprocessing.process.BaseProcess]] = []
        looks = (("texts", self._texts), ("postmap", self._postmap), ("daemon", self._daemon))
        self._looks = fork.RawArray("q", len(looks))
        for at, (name, reader) in enumerate(looks):
            mine, theirs = fork.Pipe(duplex=False)
            self._readers.append((name, mine, fork.Process(target=self._run, args=(at, reader, theirs), daemon=True)))

    @property
    def low(self) -> int:
        return int(self._bounds[0])

    @low.setter
    def low(self, number: int) -> None:
        self._bounds[0] = number

    @property
    def high(self) -> int:
        return int(self._bounds[1])

    @high.setter
    def high(self, number: int) -> None:
        self._bounds[1] = number

    @property
    def looks(self) -> dict[str, int]:
        """How often each reader has looked so far."""
        return {name: self._looks[at] for at, (name, _, _) in enumerate(self._readers)}

    def __enter__(self) -> Self:
        for _, _, process in self._readers:
            process.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.value = 1
        for _, pipe, process in self._readers:
            process.join(_PATIENCE)
            process.kill()
            process.join()
            if error is None:
                self._raise(pipe)

    def look(self) -> None:
        """Wait until each reader has looked once from now on. Raises Violation with what any has seen since."""
        wanted = [count + 2 for count in self._looks]  # the first one may have begun before
        deadline = time.monotonic() + _PATIENCE
        while any(map(int.__lt__, self._looks, wanted)):
            for name, pipe, process in self._readers:
                ended = not process.is_alive()
                self._raise(pipe)
                must(not ended, f"{name}: ended with {process.exitcode}")
            must(time.monotonic() < deadline, f"readers hang: {self.looks}")
            time.sleep(0.001)

    def _raise(self, pipe: Connection) -> None:
        with suppress(EOFError):  # the reader has ended
            if pipe.poll():
                raise Violation(pipe.recv())

    # In the reader's process.

    def _run(self, at: int, reader: Callable[[], Iterable[object]], pipe: Connection) -> None:
        os.nice(NICE)
        name = self._readers[at][0]
        low = self.low
        try:
            for _ in reader():
                self._looks[at] += 1
                if self._stop.value:
                    return
                low = self.low
        except Exception as error:
            lines = traceback.format_exc() if not isinstance(error, Violation) else str(error)
            pipe.send(f"{name}, while list {low} to {self.high} may be in force: {lines}")

    def _list_of(self, rows: Mapping[str, str], low: int) -> int:
        """The one list that has exactly these rows."""
        possible = range(low, self.high + 1)
        found = [number for number in possible if rows == expected(number)]
        must(found, f"routes of none of the lists {list(possible)}: {rows}")
        return found[0]

    @staticmethod
    def _covered(rows: Mapping[str, str], policies: Mapping[str, str]) -> None:
        for domain, value in rows.items():
            for nexthop in nexthops(value):
                found = policies.get(nexthop)
                must(found == "encrypt", f"{domain} is routed to {value}, the TLS row of {nexthop} is {found}")

    def _texts(self) -> Iterable[None]:
        """The text maps, and the order of the switch: no route before its store, no store before its TLS policy."""
        transport, tls_policy = (self._site.map_dir / name for name in ("transport", "tls_policy"))
        with PolicyClient(self._where) as client:
            while True:
                low = self.low
                rows = text_rows(transport)
                routed = self._list_of(rows, low)
                stored = self._answer(client, PARTNERS[0], NEVER_ALLOWED, 0)
                header, policies = _generation(tls_policy), text_rows(tls_policy)
                self._covered(rows, policies)
                must(
                    routed <= stored <= header <= self.high,
                    f"not in this order: routes of {routed}, store of {stored}, TLS policy of {header}",
                )
                yield

    def _postmap(self) -> Iterable[None]:
        """The indexed maps as Postfix asks them: the routes, then the policy of each nexthop found."""
        keys = [*expected(0), *expected(1).keys() - expected(0).keys()]
        while True:
            low = self.low
            rows = self._site.lookup(keys)
            self._list_of(rows, low)
            wanted = {nexthop for value in rows.values() for nexthop in nexthops(value)}
            self._covered(rows, self._site.lookup(wanted, "tls_policy"))
            yield

    def _daemon(self) -> Iterable[None]:
        """The daemon: an answer for each request, which fits one of the lists, and never an older one than before."""
        seen = 0
        partners = cycle(enumerate(PARTNERS))
        while True:
            with PolicyClient(self._where) as client:
                for _ in range(_ROUNDS_PER_CONNECTION):
                    seen = max(seen, self.low)
                    for at, partner in islice(partners, 4):
                        for number in {self.low, self.high}:
                            found = self._answer(client, partner, address(number, at), number)
                            must(
                                seen <= found <= self.high, f"{partner}: list {found} after {seen}, before {self.high}"
                            )
                            seen = found
                    yield

    def _answer(self, client: PolicyClient, partner: str, client_address: str, number: int) -> int:
        """Ask about a partner's mail from the host that it has in list `number`; the list that the answer fits."""
        action = client.ask(sender=f"office@{partner}", client_address=client_address, instance="watched")
        if action == "DUNNO":
            must(number, f"{client_address} was let in for {partner}")
            return number
        found = _REJECTED.fullmatch(action or "")
        if not found or int(found[1]) == number:
            raise Violation(f"{partner} from {client_address} (its host in list {number}): {action}")
        return int(found[1])


def _generation(path: Path) -> int:
    with path.open(encoding="utf-8") as file:
        return int(file.readline().removeprefix("# closedmail generation "))
