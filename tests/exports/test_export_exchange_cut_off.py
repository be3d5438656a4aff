"""The scripts for Exchange, cut off at every call and run again, on the model of its objects."""

from collections.abc import Callable, Iterable
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from support.core_samples import configuration, network
from support.export_samples import KEYS, VALUES, configurations, published, text_of
from support.powershell.cut_off import finished, states
from support.powershell.exchange import Exchange, taking
from test_export_exchange_online import led

from closedmail.core.model import CertificatePin, Config, Inbound, Partner
from closedmail.exports.export_rows import all_rows
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest
from closedmail.exports.targets import TARGETS

ALL = 10**6
SEND, IN = "SendConnector", "InboundConnector"
# Short ones: each call of a run is a state, and after each the script runs twice.
SHORT_LISTS = st.dictionaries(KEYS, VALUES, max_size=6).map(
    lambda rows: "".join(f"{key}\t{value}\n" for key, value in rows.items())
)
Look = Callable[[Exchange], None]


def _cut_off(scripts: list[str], look: Callable[[list[int]], Look], **parameters: object) -> None:
    """Run the first of three scripts, cut the second one off at each call, then run it again, or the third one. `look`
    is asked for what to look at while these lists are on their way. After a whole run all is as it would be anyway."""
    empty = Exchange()
    first = states(empty, scripts[0], look([-1, 0]), **parameters)[-1]
    undisturbed = [finished(first, script, look([0, at]), **parameters) for at, script in enumerate(scripts)]
    assert undisturbed[0].changes == []
    for left in states(first, scripts[1], look([0, 1]), **parameters):
        for at, lists in ((1, [0, 1]), (2, [0, 1, 2])):
            exchange = finished(left, scripts[at], look(lists), **parameters)
            assert exchange.state() == undisturbed[at].state()
            shell = exchange.run(scripts[at], **parameters)
            assert (exchange.changes, shell.asked) == ([], [])


def _taking(noun: str, scripts: list[str], names: set[str], **parameters: object) -> Callable[[list[int]], Look]:
    """Each domain is taken as one of the lists says: by nobody only if one of them has no connector for it."""
    rows = [_run(script, **parameters).in_force(noun) for script in scripts] + [{}]
    alone = [{name: taking(entries, name) for name in names} for entries in rows]

    def look(lists: list[int]) -> Look:
        said = {name: [alone[at][name] for at in lists] for name in names}

        def see(exchange: Exchange) -> None:
            entries = exchange.in_force(noun)
            for name, ways in said.items():
                now = taking(entries, name)
                assert now <= frozenset().union(*ways), name
                assert now or not all(ways), name

        return see

    return look


def _run(script: str, **parameters: object) -> Exchange:
    exchange = Exchange()
    exchange.run(script, **parameters)
    return exchange


def _names(generations: Iterable[PublishedGeneration]) -> set[str]:
    names = {key.removeprefix(".") for made in generations for key, _ in all_rows(made)}
    return names | {f"q.{name}" for name in names}


@settings(max_examples=30)
@given(configurations(), st.lists(SHORT_LISTS, min_size=3, max_size=3), st.integers(1, 4))
def test_send_connectors(config: Config, lists: list[str], limit: int) -> None:
    generations = [published(config, table) for table in lists]
    scripts = [text_of(TARGETS["exchange-onprem"], made, request=ExportRequest(limit=limit)) for made in generations]
    _cut_off(scripts, _taking(SEND, scripts, _names(generations), RemoveAtMost=ALL), RemoveAtMost=ALL)


def test_names_are_enabled_before_what_takes_all_below_them() -> None:
    """At the first run, and when connectors that are there get names and suffixes, in whatever mixture of hosts."""
    a, b = "esmtp:[192.0.2.1]", "esmtp:[192.0.2.2]"
    mixed = f".koeln.example {a}\nx.bonn.example {a}\n.bonn.example {b}\nx.koeln.example {b}\n"
    deep = f".y.koeln.example {b}\n.z.y.koeln.example {a}\n.y.bonn.example {a}\n"
    config = configuration()
    request = ExportRequest(limit=1000)
    tables = [f"p.example {a}\nr.example {b}\n.p.example {a}\n", mixed + deep, ""]
    generations = [published(config, table) for table in tables]
    scripts = [text_of(TARGETS["exchange-onprem"], made, request=request) for made in generations]
    for order in ([0, 1, 2], [1, 2, 0], [2, 1, 0]):
        ordered = [scripts[at] for at in order]
        _cut_off(ordered, _taking(SEND, ordered, _names(generations), RemoveAtMost=ALL), RemoveAtMost=ALL)


CERTIFIED = Inbound("enforce", "cert", certificates=(CertificatePin(subject="mx.p.example"),))


def test_the_list_of_domains_with_mutual_tls_and_receive_connectors() -> None:
    """What is ours in a list that is not is known after a run that was cut off, too."""
    tables = [
        "a.zone.example esmtp:[192.0.2.1]\n",
        "b.zone.example esmtp:[192.0.2.1]\n",
        "",
        "a.zone.example esmtp:[h.example]\n",
    ]
    certified = configuration(network(inbound=CERTIFIED))
    scripts = [
        text_of(TARGETS["exchange-onprem"], published(certified, table), request=ExportRequest(domain_secure=True))
        for table in tables
    ]
    own = Exchange(secure=["own.example"])

    def look(exchange: Exchange) -> None:
        assert "own.example" in exchange.secure

    for first, second, third in (scripts[:3], scripts[1:]):
        before = states(own, first, look, ReceiveOn=["EX1"])[-1]
        for left in states(before, second, look, ReceiveOn=["EX1"]):
            for script in (second, third):
                exchange = finished(left, script, look, ReceiveOn=["EX1"])
                whole = finished(before, script, look, ReceiveOn=["EX1"])
                assert exchange.state() == whole.state()
                exchange.run(script, ReceiveOn=["EX1"])
                assert exchange.changes == []


@settings(max_examples=30)
@given(
    configurations(),
    st.lists(st.tuples(SHORT_LISTS, st.booleans()), min_size=3, max_size=3),
    st.integers(1, 4),
)
def test_outbound_connectors_and_rules(config: Config, lists: list[tuple[str, bool]], limit: int) -> None:
    """From one variant to the other, too: what all lists have goes to the relay."""
    scripts = []
    for table, scoped in lists:
        request = ExportRequest(limit=limit, relays=("relay.city.example",), scoped=scoped)
        scripts.append(text_of(TARGETS["exchange-online"], published(config, table), request=request))
    alone = [led(_run(script, RemoveAtMost=ALL)) for script in scripts] + [set()]

    def look(lists: list[int]) -> Look:
        both = set.intersection(*(alone[at] for at in lists))

        def see(exchange: Exchange) -> None:
            assert both <= led(exchange)

        return see

    _cut_off(scripts, look, RemoveAtMost=ALL)


@settings(max_examples=30)
@given(st.lists(SHORT_LISTS, min_size=3, max_size=3), st.integers(1, 4))
def test_inbound_connectors(lists: list[str], limit: int) -> None:
    """A connector refuses what is not as it says: no domain meets one that is for others."""
    config = configuration(
        network(inbound=Inbound("enforce", require_tls=True, allow_from=(ip_network("192.0.2.0/28"),))),
        partners=[
            Partner("a.zone.example", CERTIFIED),
            Partner("b.zone.example", Inbound("enforce", allow_from=(ip_network("198.51.100.1/32"),), subdomains=True)),
        ],
    )
    generations = [published(config, table) for table in lists]
    request = ExportRequest(limit=limit, relays=("relay.city.example",))
    scripts = [text_of(TARGETS["exchange-online"], made, request=request) for made in generations]
    _cut_off(scripts, _taking(IN, scripts, _names(generations), RemoveAtMost=ALL), RemoveAtMost=ALL)
