"""Define the input of an export: a generation in force, with all that other systems may need of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from closedmail.core.domain import DomainSet
from closedmail.core.model import IPNetwork
from closedmail.core.record import Entry
from closedmail.core.rule import Rule


@dataclass(frozen=True, slots=True)
class PublishedGeneration:
    """A generation as the exports see it.

    `records` yields all records in the order of their keys, as often as it is called, so that no export has to keep
    them; `entry` the record of one key. `published_at` is the time of the generation, never of the export.
    `dns_servers` are by network name.
    """

    generation: int
    published_at: str
    rules: tuple[Rule, ...]
    own: DomainSet
    records: Callable[[], Iterable[tuple[str, Entry]]]
    entry: Callable[[str], Entry | None]
    closed: Mapping[str, int] = field(default_factory=dict)
    trusted_clients: tuple[IPNetwork, ...] = ()
    exempt_sasl: bool = True
    dns_servers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
