"""Render `dnsmasq`: `mx-host` for listed domains, `server=` for forwarding.

Seen on dnsmasq 2.90: `mx-host` changes the MX of just that name. It has no wildcards, but `server=/*.x/` takes all
below x and not x itself (dnsmasq(8), --server), so that what is below a listed suffix can at least be kept from the
public MX: it is sent to a port on which nobody answers, and mail waits.
"""

from collections.abc import Iterator

from closedmail.exports import dns, forwarding
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File

_NOBODY = "127.0.0.1#1"
_APPLYING = (
    "Write it as /etc/dnsmasq.d/closedmail.conf (dnsmasq --test), and restart dnsmasq, which never re-reads it.",
)
_UNSIGNED = (
    "dnsmasq validates answers of servers for a domain of their own only where it has a trust anchor for it (dnssec, "
    "trust-anchor): what is forwarded here is insecure, as it should be."
)


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """Render one file."""
    return [File("", _forwarding(published) if request.form == "forward" else _mx(published))]


def _mx(published: PublishedGeneration) -> Iterator[str]:
    found = dns.survey(published)
    for name, answer in found.suffixes.items():
        if answer and answer != dns.NULL_MX:
            found.notes.add(
                "dnsmasq has no MX records below a suffix: nothing there is resolved, mail waits", f".{name}"
            )
        elif answer:
            found.notes.add("below a closed domain no type is resolved", f".{name}")
    yield from header("dnsmasq", published, found.notes, _APPLYING)
    yield f"local=/{dns.SUFFIX}/"
    yield f"server=/{dns.HELD}/{_NOBODY}"
    for name, address in found.names():
        yield f"host-record={name},{address}"
    for name, answer in sorted(found.suffixes.items()):
        if answer is None:
            yield f"server=/*.{name}/#"
        else:
            yield _unresolved(f"*.{name}", answer)
    for key, answer in dns.exact_answers(published, found):
        for preference, target in answer or ():
            yield f"mx-host={key},{target or '.'},{preference}"
        cover = found.covering(key)
        if cover is None:
            continue
        above = found.suffixes[cover]
        yield f"server=/{key}/#"
        if key not in found.suffixes and above is not None:
            yield _unresolved(f"*.{key}", above)


def _unresolved(name: str, answer: dns.Answer) -> str:
    """Render the line by which names are not resolved: for good, or so that mail waits."""
    return f"local=/{name}/" if answer == dns.NULL_MX else f"server=/{name}/{_NOBODY}"


def _forwarding(published: PublishedGeneration) -> Iterator[str]:
    notes = Notes()
    found = forwarding.zones(published, notes)
    yield from header("dnsmasq", published, notes, [*_APPLYING, forwarding.TAKES_ALL, _UNSIGNED])
    for name, servers in found.items():
        if servers is None:
            yield f"server=/{name}/#"
        elif servers == forwarding.UNRESOLVED:
            yield f"server=/{name}/{_NOBODY}"
        else:
            yield from (f"server=/{name}/{server}" for server in servers)
            yield f"rebind-domain-ok=/{name}/"
