"""Define the result of a probe of one route host: as a value, as JSON, and as text."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from closedmail.words import counted, excerpt

_DAY = 86400
_FORM = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class HostResult:
    """One host of one nexthop. `policy` is the row of the TLS policy; `ok` is true if the MTA would deliver.

    `starttls` is true if TLS was offered, `protocol` the version in use ("" for plain text). Names and texts of the
    server are printable. `fingerprint` and `pubkey_fingerprint` are in the digest of the MTA's client, `pin` is the
    public key's in that of its server, which compares clients' certificates. `client_certificate` names the file that
    was presented, or the reason why none was; "" where none is configured. `not_after` and `probed_at` are times in the
    form of the public interface; `days_left` is counted from the probe.
    """

    nexthop: str
    domains: int
    reachable: bool = False
    starttls: bool = False
    policy: str = ""
    ok: bool = False
    names: tuple[str, ...] = ()
    issuer: str | None = None
    not_after: str | None = None
    fingerprint: str | None = None
    pubkey_fingerprint: str | None = None
    error: str | None = None
    host: str = ""
    address: str = ""
    transport: str = ""
    protocol: str = ""
    days_left: int | None = None
    client_certificate: str = ""
    pin: str | None = None
    probed_at: str = ""

    def to_json(self) -> dict[str, Any]:
        """Render the object of the public interface, and fields of our own after `error`."""
        return {**asdict(self), "names": list(self.names)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "HostResult":
        """Parse what `to_json` made. Raises TypeError, ValueError or KeyError for anything else."""
        result = cls(**{item.name: value[item.name] for item in fields(cls)})
        for item in fields(cls):
            if type(getattr(result, item.name)) not in _KINDS[item.type]:
                raise TypeError(item.name)
        if not all(isinstance(name, str) for name in result.names):
            raise TypeError("names")
        for moment in (result.not_after, result.probed_at):
            if moment is not None:
                datetime.strptime(moment, _FORM)
        return cls(**{**{item.name: getattr(result, item.name) for item in fields(cls)}, "names": tuple(result.names)})

    @property
    def key(self) -> tuple[str, str, str]:
        """The order of results, and their identity from probe to probe."""
        return (self.nexthop, self.transport, self.host)

    def lines(self) -> Iterator[str]:
        """Render a block of lines for people."""
        host = f" {self.host}" if self.host and self.host not in self.nexthop else ""
        what = f"{counted(self.domains, 'domain')}, TLS {self.policy}"
        yield f"{self.nexthop}{host} ({what}): {'ok' if self.ok else 'NOT OK'}"
        if self.error:
            yield f"  {'note' if self.ok else 'error'}: {self.error}"
        if self.reachable:
            offered = "STARTTLS offered" if self.starttls else "no STARTTLS"
            at = f" at {self.address}" if self.address not in self.nexthop else ""
            yield f"  reached{at}: {self.protocol or f'plain text, {offered}'}"
        if self.fingerprint:
            yield f"  certificate: {', '.join(self.names) or 'no names'}, issued by {self.issuer or 'nobody named'}"
            yield f"  valid until: {self.not_after} ({days_in_words(self.days_left or 0)})"
            yield f"  fingerprint: {self.fingerprint}"
            yield f"  public key:  {self.pubkey_fingerprint}"
        if self.client_certificate:
            yield f"  our certificate: {self.client_certificate}"


_KINDS: Mapping[object, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    bool: (bool,),
    str | None: (str, type(None)),
    int | None: (int, type(None)),
    tuple[str, ...]: (list, tuple),
}


def days_in_words(days: int) -> str:
    """Render the days that a certificate has left."""
    if days < 0:
        return "has expired"
    return f"{counted(days, 'day')} left"


def paste_lines(results: list[HostResult]) -> Iterator[str]:
    """Render the lines for a `[partner]` table, each public key once."""
    seen = set()
    for result in results:
        if result.pin and result.pin not in seen:
            seen.add(result.pin)
            names = f": {', '.join(result.names)}" if result.names else ""
            yield excerpt(f"# {result.nexthop}{names}")
            yield f'certificates = [{{ pubkey_fingerprint = "{result.pin}" }}]'


def days_left(not_after: int, now: int) -> int:
    """Count the whole days until then; below 0 for an expired certificate."""
    return (not_after - now) // _DAY
