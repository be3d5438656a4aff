"""Render `bind`: a response policy zone with the MX records, or forward zones.

Seen on BIND 9.18: a policy zone that has an MX record for a name answers its other types with nothing, and there is no
policy by type. No other means of BIND changes one type alone: a zone of one's own would take all that is below, too.
"""

from collections.abc import Iterator

from closedmail.exports import dns, forwarding, rpz
from closedmail.exports.export_rows import says_something
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File

_CONFIG, _OPTIONS, _ZONE = "closedmail.conf", "closedmail.options", "closedmail.rpz"
_APPLYING = (
    'In named.conf, outside of options and views: include "{place}/closedmail.conf";',
    'In options: include "{place}/closedmail.options";',
    "  named-checkconf && rndc reconfig && rndc reload",
)
_TYPES = (
    "BIND CAN'T CHANGE ONE TYPE ALONE. For each name in the policy zone all types but MX are empty: A, AAAA, TXT (and "
    "so SPF). Names beside it, such as www or the mail host below a listed domain, stay. Use this on a server that "
    "only mail servers ask; where SPF of partners counts, take the export for unbound, powerdns or knot, and let BIND "
    "forward to that.",
    "DNSSEC: without break-dnssec, answers for signed domains would NOT be changed where a client sets DO, as Postfix "
    "with dane does, and mail would leave. With it they are, without signatures: a client that validates for itself "
    "takes them for forged, and its mail waits.",
    "A response-policy of your own: there may be one only. Add the zone to it yourself, before all others, in place "
    "of closedmail.options.",
)
_OWN = "An own domain in a forwarded zone is resolved from the root servers, without your forwarders."


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """Render three files for `mx`, two for `forward`."""
    applying = [line.replace("{place}", request.place) for line in _APPLYING]
    if request.form == "forward":
        notes = Notes()
        found = forwarding.zones(published, notes)
        applying = [*applying, forwarding.TAKES_ALL, *([_OWN] if None in found.values() else [])]
        return [
            File(_CONFIG, _forward_zones(published, found, notes, applying)),
            File(_OPTIONS, _insecure(published, found)),
        ]
    survey = dns.survey(published)
    empty = _without_address(published, survey)
    _note(published, survey, empty)
    return [
        File(_CONFIG, _config(published, survey, [*applying, *_TYPES], request)),
        File(_OPTIONS, _policy(published)),
        File(_ZONE, _zone(published, survey, empty)),
    ]


def _config(
    published: PublishedGeneration, found: dns.Survey, applying: list[str], request: ExportRequest
) -> Iterator[str]:
    yield from header("bind", published, found.notes, applying, "// ")
    yield f'zone "{rpz.NAME}" {{'
    yield f'  type primary; file "{request.place}/{_ZONE}"; allow-query {{ none; }};'
    yield "  check-names ignore;  # a listed domain may have an underscore, and one bad owner would end the whole zone"
    yield "};"
    # Nobody answers there, and the server reports so: SERVFAIL, for which mail waits.
    yield f'zone "{dns.HELD}" {{ type forward; forward only; forwarders {{ 127.0.0.1 port 1; }}; }};'


def _policy(published: PublishedGeneration) -> Iterator[str]:
    yield from header("bind", published, Notes(), ["Belongs into the options of named.conf."], "// ")
    yield f'response-policy {{ zone "{rpz.NAME}"; }} break-dnssec yes qname-wait-recurse no max-policy-ttl {dns.TTL};'
    yield f'validate-except {{ "{dns.SUFFIX}"; }};'


def _without_address(published: PublishedGeneration, found: dns.Survey) -> frozenset[str]:
    """Find the hosts of routes that have MX records of their own in the zone, and so lose their addresses."""
    return frozenset(name for name in found.targets if says_something(published, name) or name in published.closed)


def _note(published: PublishedGeneration, found: dns.Survey, empty: frozenset[str]) -> None:
    for key, answer in dns.answers(published):
        rpz.note_long_name(found, key)
        if any(target in empty for _, target in answer or ()):
            found.notes.add("a host of the route is a listed domain, and loses its address here: left out", key)
    for name in found.hosts:
        found.notes.add(
            "the host of a route lies below a listed suffix: left alone for its address, and so is its own MX", name
        )


def _zone(published: PublishedGeneration, found: dns.Survey, empty: frozenset[str]) -> Iterator[str]:
    yield from header("bind", published, Notes(), ["The policy zone of closedmail.conf."], "; ")
    yield from rpz.head(published)
    yield from rpz.addresses(found)
    for key, answer in dns.answers(published):
        yield from rpz.records(rpz.owner_of(key), _with_address(answer, empty))
    for name in found.hosts:
        yield from rpz.records(name, None)
    for owner, answer in sorted(found.fill.items()):
        yield from rpz.records(owner, _with_address(answer, empty))


def _with_address(answer: dns.Answer, empty: frozenset[str]) -> dns.Answer:
    """Drop the hosts of an answer that have no address; where none is left, mail waits."""
    if answer is None or not empty:
        return answer
    return tuple(record for record in answer if record[1] not in empty) or dns.WAIT


def _forward_zones(
    published: PublishedGeneration, found: dict[str, forwarding.Servers], notes: Notes, applying: list[str]
) -> Iterator[str]:
    yield from header("bind", published, notes, applying, "// ")
    for name, servers in found.items():
        if servers is None:
            forwarders = ""
        elif servers == forwarding.UNRESOLVED:
            forwarders = " 127.0.0.1 port 1;"
        else:
            forwarders = "".join(f" {server};" for server in servers)
        only = "" if servers is None else " forward only;"
        yield f'zone "{name}" {{ type forward;{only} forwarders {{{forwarders} }}; }};'


def _insecure(published: PublishedGeneration, found: dict[str, forwarding.Servers]) -> Iterator[str]:
    yield from header("bind", published, Notes(), ["Belongs into the options of named.conf."], "// ")
    yield "validate-except {"
    yield from (f'  "{name}";' for name in forwarding.private_names(found))
    yield "};"
