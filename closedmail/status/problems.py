"""Define the problems of a gateway as data, and how bad they are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "warning", "critical"]
Severity = Literal["warning", "critical"]
STATES: tuple[State, ...] = ("ok", "warning", "critical")  # from good to bad
ProblemKind = Literal[
    "store",  # nothing is in force, or it can't be read
    "configuration",  # the user who runs closedmail can't read it
    "maps",  # a map is missing, or is not the one that sync made
    "own-rows",  # rows of the administrator's own tables stand in front of partners' routes
    "impostor",  # another user's process listens in the place of a daemon
    "recipient-spellings",  # Postfix refuses no unusual spellings
    "set-aside",  # the rules in force are not those of the file
    "fingerprints",  # a fingerprint that can't match
    "header-from",  # a rule that the milter can't keep
    "held",  # domains are held
    "refused",  # the last sync refused the list
    "never-fetched",
    "fetch-clock",  # the last fetch is in the future
    "clock",  # times of the generation in force are
    "signing-time",  # the newest accepted signature is
    "fetch-age",  # older than fetch_max_age
    "signature-age",  # older than max_age
    "unsigned",  # the network signs nothing
    "keys",  # the pinned keys can't be read
    "key-unusable",  # a pinned key is missing, revoked or expired
    "key-expires",  # a pinned key expires soon
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `network` is "" for what concerns no single one; `sentence` does not name it."""

    kind: ProblemKind
    severity: Severity
    sentence: str
    network: str = ""

    def __str__(self) -> str:
        """Render the sentence, a network's with its name in front."""
        return f"{self.network}: {self.sentence}" if self.network else self.sentence


@dataclass(slots=True)
class Problems:
    """Problems of the gateway, or of one `network`, in the order in which they were found."""

    network: str = ""
    found: list[Problem] = field(default_factory=list)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.found)

    def warn(self, kind: ProblemKind, sentence: str) -> None:
        """Add a warning."""
        self.found.append(Problem(kind, "warning", sentence, self.network))

    def alarm(self, kind: ProblemKind, sentence: str) -> None:
        """Add what is critical."""
        self.found.append(Problem(kind, "critical", sentence, self.network))

    @property
    def state(self) -> State:
        """The worst of them."""
        return worst(self)

    @property
    def sentences(self) -> list[str]:
        """All of them, without the network's name."""
        return [problem.sentence for problem in self]


def worst(problems: Iterable[Problem]) -> State:
    """Find the worst state of several problems, "ok" for none."""
    return max((problem.severity for problem in problems), key=STATES.index, default="ok")
