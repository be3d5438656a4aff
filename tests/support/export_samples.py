"""Published generations for the tests of exports, made of lists as `sync` makes generations of them."""

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from closedmail.core.domain import DomainSet
from closedmail.core.hold_reason import Why
from closedmail.core.model import Config, Inbound, Outbound, Partner
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, Form, Target
from closedmail.generation.generation import Generation
from support.core_samples import LONG_ROUTE, advance, configuration, hold, in_force, network

PUBLISHED = "2026-11-24T03:00:04Z"


def published_of(
    generation: Generation, config: Config, *, dns_servers: Mapping[str, tuple[str, ...]] | None = None
) -> PublishedGeneration:
    """A settled generation as exports see it once it is published."""
    table = in_force(generation)
    return PublishedGeneration(
        generation=7,
        published_at=PUBLISHED,
        rules=tuple(generation.rules),
        own=DomainSet(config.gateway.own_domains),
        records=table.records,
        entry=table.entry,
        closed=generation.closed,
        trusted_clients=config.gateway.trusted_clients,
        exempt_sasl=config.gateway.exempt_sasl,
        dns_servers=dns_servers or {},
    )


def published(
    config: Config,
    *texts: str,
    before: Sequence[str] = (),
    holds: Mapping[str, Why] | None = None,
    dns_servers: Mapping[str, tuple[str, ...]] | None = None,
) -> PublishedGeneration:
    """Publish lists in mailertable format, one a network; `before` are the lists of the generation before, `holds` are
    held whatever the lists say."""
    previous = in_force(advance(config, *before)) if before else None
    generation = hold(advance(config, *texts, previous=previous), holds or {})
    return published_of(generation, config, dns_servers=dns_servers)


def text_of(target: Target, made: PublishedGeneration, form: Form = "mx", request: ExportRequest | None = None) -> str:
    """The text of an export that is one file."""
    (text,) = texts_of(target, made, form, request=request).values()
    return text


def texts_of(
    target: Target,
    made: PublishedGeneration,
    form: Form = "mx",
    place: str = "/etc/closedmail-export",
    request: ExportRequest | None = None,
) -> dict[str, str]:
    """The texts of an export, by the names of its files; `request` instead of form and place."""
    files = target.render(made, request or ExportRequest(form, place))
    assert target.folder or [file.name for file in files] == [""]
    return {file.name: "".join(line + target.newline for line in file.lines) for file in files}


# Few labels, so that keys lie above, below and beside each other.
# For Postfix two of them are one key.
_LABELS = st.sampled_from(["a", "b", "xn--kln-sna", "_x", "c-d", "xn--strae-oqa", "strasse"])
NAMES = st.lists(_LABELS, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "zone.example"]))
KEYS = st.tuples(st.sampled_from(["", "."]), NAMES).map("".join)
_HOSTS = st.sampled_from(["[192.0.2.1]", "[192.0.2.2]", "mx.p.example", "[mx.p.example]", "[IPv6:2001:db8::25]"])
_ROUTES = st.lists(_HOSTS, min_size=1, max_size=3).flatmap(
    lambda hosts: st.sampled_from([":", ","]).map(lambda between: "esmtp:" + between.join(hosts))
)
_TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40)
_ERRORS = st.tuples(st.sampled_from(["4.7.0", "5.1.2", "nohost"]), _TEXTS).map(
    lambda pair: f"error:{pair[0]}:{pair[1]}"
)
VALUES = st.one_of(_ROUTES, _ROUTES, _ERRORS, st.sampled_from(["esmtp:", LONG_ROUTE]))
TABLES = st.dictionaries(KEYS, VALUES, max_size=12).map(
    lambda table: "".join(f"{key}\t{value}\n" for key, value in table.items())
)
HOLDS = st.dictionaries(KEYS, st.sampled_from(Why), max_size=3)

SMARTHOSTS = Outbound("encrypt", smarthost=("[r1.example]:26", "[192.0.2.9]"))
# What Postfix alone may be asked, and what both may: Sendmail has no ports.
_OUTBOUNDS = {
    False: st.sampled_from(
        [
            Outbound("encrypt"),
            Outbound("may", port=2525),
            Outbound("may", families="ipv6"),
            SMARTHOSTS,
            Outbound("secure"),
        ]
    ),
    True: st.sampled_from(
        [
            *(
                Outbound("encrypt"),
                Outbound("may"),
                Outbound("secure"),
                Outbound("secure", tls_match=("mx.p.example",)),
            ),
            Outbound("encrypt", smarthost=("[r1.example]:25", "[192.0.2.9]")),
        ]
    ),
}


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    """Networks with and without smarthosts, for Postfix alone or for both MTAs, closed domains and own domains
    anywhere, a partner table or two."""
    sendmail = draw(st.booleans())
    outbound = draw(_OUTBOUNDS[sendmail])
    partners = [
        Partner(
            key, Inbound("enforce"), outbound if routed else None, network="ndb", route="esmtp:[192.0.2.7]" * routed
        )
        for key, routed in draw(st.dictionaries(KEYS, st.booleans(), max_size=2)).items()
    ]
    closed = draw(st.lists(NAMES, max_size=2, unique=True))
    own = ["city.example", *draw(st.lists(NAMES, max_size=2, unique=True))]
    return configuration(network(outbound=outbound, closed=closed), partners=partners, own=own, sendmail=sendmail)
