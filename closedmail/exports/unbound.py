"""Render `unbound`: local MX data beside the real records, and a policy zone for what is below a suffix.

Seen on Unbound 1.17: `typetransparent` with local data changes the MX alone. It has no wildcards; a policy zone has
(unbound.conf(5), rpz), but empties the other types of the names that it answers for. Local data goes before it.
"""

from collections.abc import Iterator

from closedmail.exports import dns, forwarding, rpz
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File

_CONFIG, _ZONE = "closedmail.conf", "closedmail.rpz"
_APPLYING = (
    "In unbound.conf, below the other clauses: include: {place}/closedmail.conf",
    "  unbound-checkconf && unbound-control reload",
    "MX records given here are not signed: validation passes them, and DANE does not count for them.",
)
_RESPIP = (
    'The list has suffixes: in server:, module-config: "respip validator iterator". Without respip Unbound does not '
    "start, and unbound-checkconf does not report it."
)


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """Render two files for `mx`, one for `forward`."""
    if request.form == "forward":
        return [File(_CONFIG, _forwarding(published, request))]
    found = dns.survey(published)
    for name, answer in found.suffixes.items():
        if answer is not None:
            found.notes.add(
                "below a suffix the other types (A, TXT and so SPF) are empty for the server's clients", "." + name
            )
    for name in (*found.covered, *found.suffixes):
        rpz.note_long_name(found, name)
    return [File(_CONFIG, _config(published, found, request)), File(_ZONE, _zone(published, found))]


def _applying(request: ExportRequest) -> list[str]:
    return [line.replace("{place}", request.place) for line in _APPLYING]


def _config(published: PublishedGeneration, found: dns.Survey, request: ExportRequest) -> Iterator[str]:
    applying = [*_applying(request), *([_RESPIP] if found.suffixes else [])]
    yield from header("unbound", published, found.notes, applying)
    yield "server:"
    yield f'  domain-insecure: "{dns.SUFFIX}"'
    yield f'  local-zone: "{dns.SUFFIX}." static'
    yield f'  local-zone: "{dns.HELD}." always_refuse'
    for name, address in found.names():
        yield f'  local-data: "{name}. {dns.TTL} IN {"AAAA" if ":" in address else "A"} {address}"'
    for key, answer in dns.exact_answers(published, found):
        if answer is None:
            continue
        yield f'  local-zone: "{key}." typetransparent'
        for preference, target in answer:
            yield f'  local-data: "{key}. {dns.TTL} IN MX {preference} {target}."'
    if found.suffixes:
        yield "rpz:"
        yield f"  name: {rpz.NAME}"
        yield f"  zonefile: {request.place}/{_ZONE}"


def _zone(published: PublishedGeneration, found: dns.Survey) -> Iterator[str]:
    yield from header("unbound", published, Notes(), ["The policy zone of closedmail.conf."], "; ")
    yield from rpz.head(published)
    for name, answer in sorted(found.suffixes.items()):
        yield from rpz.records(f"*.{name}", answer)
    for name in sorted(found.covered):  # its MX is local data, and its other types are to stay
        yield from rpz.records(name, None)
    for owner, answer in sorted(found.fill.items()):
        yield from rpz.records(owner, answer)


def _forwarding(published: PublishedGeneration, request: ExportRequest) -> Iterator[str]:
    notes = Notes()
    found = forwarding.zones(published, notes)
    for name, servers in found.items():
        if servers is None:
            notes.add("an own domain lies in a forwarded zone: it is resolved from the root servers", name)
    yield from header("unbound", published, notes, [*_applying(request), forwarding.TAKES_ALL])
    yield "server:"
    for name in forwarding.private_names(found):
        yield f'  domain-insecure: "{name}."'
        yield f'  private-domain: "{name}."'
    for name, servers in found.items():
        # The closest zone counts: one that is resolved below one that is not needs its own.
        yield f'  local-zone: "{name}." {"always_refuse" if servers == forwarding.UNRESOLVED else "always_transparent"}'
    for name, servers in found.items():
        if servers == forwarding.UNRESOLVED:
            continue
        yield "forward-zone:"
        yield f'  name: "{name}."'
        yield from (f"  forward-addr: {server}" for server in servers or ())
        if servers:
            yield "  forward-first: no"
