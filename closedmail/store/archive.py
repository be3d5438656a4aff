"""Archive generations, so that `rollback` can make one again: each is one compressed value in the policy store.

Lists are beside the store, by the digest of their text; everything else that a generation is made of is here.
"""

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, field

from closedmail.core.record import Entry, decode, encode
from closedmail.core.rule import Rule
from closedmail.store.manifest import ListInForce, list_in_force, rule_in_force


@dataclass(frozen=True, slots=True)
class Archived:
    """A generation as it is kept.

    It has the text of its configuration, its lists in the order of network numbers, the records beyond those of its
    lists, the marks of released bad lines, and the rules beyond those of its configuration.
    """

    configuration: str
    lists: tuple[ListInForce, ...]
    beyond: dict[str, Entry] = field(default_factory=dict)
    released: dict[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the networks by number."""
        return tuple(item.name for item in self.lists)

    def to_bytes(self) -> bytes:
        """Write the value in the store."""
        fields = {
            "configuration": self.configuration,
            "lists": [asdict(item) for item in self.lists],
            "beyond": {key: b64encode(encode(entry)).decode() for key, entry in self.beyond.items()},
            "released": self.released,
            "rules": [asdict(rule) for rule in self.rules],
        }
        return zlib.compress(json.dumps(fields, default=str, separators=(",", ":")).encode())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Archived":
        """Read what `to_bytes` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        try:
            fields = json.loads(zlib.decompress(data))
        except zlib.error as error:
            raise ValueError(str(error)) from None
        return cls(
            fields["configuration"],
            tuple(map(list_in_force, fields["lists"])),
            {key: decode(b64decode(value)) for key, value in fields["beyond"].items()},
            fields["released"],
            tuple(map(rule_in_force, fields.get("rules", ()))),
        )
