"""Write and read a generation's manifest: all that the policy store has of it beside its domains, as JSON."""

import json
from dataclasses import asdict, dataclass, field
from ipaddress import ip_network
from typing import Any

from closedmail.core.model import CertificatePin, Inbound, IPNetwork, Outbound, Rewriting
from closedmail.core.rule import Rule
from closedmail.mailertable.listing import SkippedLine


@dataclass(frozen=True, slots=True)
class ListInForce:
    """A network's list as it is in force. Times are Unix seconds, 0 where there is none.

    `text` names the verified text below `lists/` ("" while there is none), `raw_digest` is the SHA-256 of what was
    fetched, `key_digest` that of the key file. `newest_signed_at` never goes back. A list that was rolled back from is
    known by its signing time (`rolled_back_from`: nothing that is not signed later counts) and by its text
    (`rolled_back_texts`, for lists that nobody signs).
    """

    name: str
    text: str = ""
    raw_digest: str = ""
    key_digest: str = ""
    signer: str = ""
    signed_at: int = 0
    newest_signed_at: int = 0
    domains: int = 0
    rolled_back_from: int = 0
    rolled_back_texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of a generation beside its domains.

    `rules` are in the order of the numbers that records carry, `lists` in that of network numbers.

    `configuration` is a digest of all that the generation depends on beside the lists, `rules_digest` of what it takes
    from the configuration file. `former` has the newest accepted signing time of networks that are no longer
    configured: they may be again, and an old list is no newer then. `holds_due` has the second at which the first hold
    of each network is due, `holds_begun` is the one at which the last of these holds began. `rows_due` and `rows_until`
    are the seconds at which the first and the last TLS row that only stays for a time may go, 0 for never. `built_at`
    is when the maps were made, which is later than `published_at` where they were put right again. `maps` has the
    identities of the files of Postfix's maps (`built_maps.py`), `sendmail_maps` those of Sendmail's.
    `fingerprint_digest` is Postfix's for certificates, "" where it is not known.

    After a rollback `rules_of` is the generation whose rules are in force in place of the file's, and `set_aside` the
    digest of the file's rules by which this stays so; 0 and "" otherwise. `released` has marks of bad lines whose
    domains were released.
    """

    generation: int
    published_at: int
    reason: str
    configuration: str
    rules_digest: str
    lists: tuple[ListInForce, ...]
    rules: tuple[Rule, ...]
    own_domains: tuple[str, ...]
    trusted_clients: tuple[IPNetwork, ...] = ()
    exempt_sasl: bool = True
    rewriting: Rewriting = field(default_factory=Rewriting)
    closed: dict[str, int] = field(default_factory=dict)
    shared_spellings: tuple[str, ...] = ()
    former: dict[str, int] = field(default_factory=dict)
    holds_due: dict[str, int] = field(default_factory=dict)
    holds_begun: int = 0
    rows_due: int = 0
    rows_until: int = 0
    built_at: int = 0
    maps: dict[str, list[int]] = field(default_factory=dict)
    rules_of: int = 0
    set_aside: str = ""
    released: dict[str, str] = field(default_factory=dict)
    fingerprint_digest: str = ""
    sendmail_maps: dict[str, list[int]] = field(default_factory=dict)

    def times_after(self, second: int, linger_for: int) -> list[int]:
        """List its times that are later: when it was published, when holds began, and rows that stay `linger_for`."""
        times = (self.published_at, self.holds_begun, self.rows_until - linger_for)
        return [time for time in times if time > second]

    def to_json(self) -> bytes:
        """Write the manifest as JSON."""
        return json.dumps(asdict(self), default=str, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Manifest":
        """Read what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        fields = json.loads(data)
        fields["lists"] = tuple(map(list_in_force, fields["lists"]))
        fields["rules"] = tuple(map(rule_in_force, fields["rules"]))
        fields["trusted_clients"] = _networks(fields["trusted_clients"])
        fields["rewriting"] = Rewriting(**fields["rewriting"])
        fields["own_domains"] = tuple(fields["own_domains"])
        fields["shared_spellings"] = tuple(fields["shared_spellings"])
        if isinstance(fields["holds_due"], int):  # of a version before; it is settled anew by this one
            fields["holds_due"] = {}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Details:
    """The report of `sync` on a network when its generation was made: held domains, skipped lines, notes."""

    held: tuple[str, ...] = ()
    skipped: tuple[SkippedLine, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Write the details as JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Details":
        """Read what `to_json` wrote."""
        fields = json.loads(data)
        skipped = tuple(SkippedLine(**item) for item in fields["skipped"])
        return cls(tuple(fields["held"]), skipped, tuple(fields["notes"]))


def list_in_force(fields: dict[str, Any]) -> ListInForce:
    """Make a ListInForce from its fields as JSON has them."""
    return ListInForce(**{**fields, "rolled_back_texts": tuple(fields["rolled_back_texts"])})


def rule_in_force(fields: dict[str, Any]) -> Rule:
    """Make a Rule from its fields as JSON has them."""
    inbound = fields["inbound"]
    inbound["allow_from"] = _networks(inbound["allow_from"])
    inbound["header_from_exempt"] = _networks(inbound["header_from_exempt"])
    inbound["certificates"] = tuple(CertificatePin(**pin) for pin in inbound["certificates"])
    fields["inbound"] = Inbound(**inbound)
    outbound = fields["outbound"]
    if outbound is not None:
        outbound["smarthost"] = tuple(outbound["smarthost"])
        outbound["tls_match"] = tuple(outbound["tls_match"])
        fields["outbound"] = Outbound(**outbound)
    return Rule(**fields)


def _networks(texts: list[str]) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, texts))
