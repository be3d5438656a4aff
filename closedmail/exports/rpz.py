"""Write a response policy zone with the MX records of an export, as BIND and Unbound read it."""

from collections.abc import Iterator

from closedmail.exports import dns
from closedmail.exports.dns import Answer, Survey
from closedmail.exports.published_generation import PublishedGeneration

NAME = "rpz.closedmail.invalid"
_LONGEST = 253 - len(NAME) - 3  # with "*." in front of a name, and a dot behind it


def head(published: PublishedGeneration) -> Iterator[str]:
    """Yield SOA and NS; the serial is the generation's number."""
    yield f"$ORIGIN {NAME}."
    yield f"@ {dns.TTL} IN SOA localhost. root.localhost. {published.generation} 3600 600 86400 {dns.TTL}"
    yield f"@ {dns.TTL} IN NS localhost."


def note_long_name(found: Survey, key: str) -> None:
    """Note a name that is too long below the policy zone's."""
    if len(key.removeprefix(".")) > _LONGEST:
        found.notes.add("THE NAME IS TOO LONG for a policy zone: it resolves as before, route it elsewhere", key)


def records(owner: str, answer: Answer) -> Iterator[str]:
    """Yield the records of one owner, none where its name is too long."""
    if len(owner.removeprefix("*.")) > _LONGEST:
        return
    if answer is None:
        yield f"{owner} {dns.TTL} IN CNAME rpz-passthru."
        return
    for preference, target in answer:
        yield f"{owner} {dns.TTL} IN MX {preference} {target}."


def owner_of(key: str) -> str:
    """Return the owner name of a key's records: `*.x` for `.x`."""
    return "*" + key if key.startswith(".") else key


def addresses(found: Survey) -> Iterator[str]:
    """Yield the address records of the made names."""
    for name, address in found.names():
        yield f"{name} {dns.TTL} IN {'AAAA' if ':' in address else 'A'} {address}"
