"""What a mailertable value becomes: a delivery, its hosts, and how Postfix spells them."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.core.hold_reason import Why
from closedmail.core.model import Families, Inbound, Outbound
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.mailertable.listing import SMARTHOST
from closedmail.maps.postfix_transport import transport_value
from closedmail.routes.delivery import CLOSED, OWN, DeliveryKind, delivery_of, has_row, rendered, route_of
from closedmail.routes.nexthop import mail_host
from closedmail.routes.sendmail_route import mailertable_value

assert samples  # its hypothesis profile

PLAIN = Outbound("encrypt")
PORT = Outbound("encrypt", port=2525)
OTHER = Outbound("encrypt", transport="closed")
RELAYS = Outbound("encrypt", smarthost=("[relay1.example]:25", "[2001:db8::1]", "relay2.example"), port=26)


@pytest.mark.parametrize(
    ("value", "outbound", "nexthops"),
    [
        ("esmtp:[192.0.2.1]", PLAIN, ["[192.0.2.1]"]),
        ("smtp:mx.p.example", PLAIN, ["mx.p.example"]),
        ("smtp8:[mx.p.example]", PLAIN, ["[mx.p.example]"]),
        ("dsmtp:[IPv6:2001:db8::1]", PLAIN, ["[2001:db8::1]"]),
        ("relay:[192.0.2.1]:mx.p.example,[192.0.2.2]", PLAIN, ["[192.0.2.1]", "mx.p.example", "[192.0.2.2]"]),
        ("relay:[192.0.2.1]:[192.0.2.2]:[192.0.2.1]", PLAIN, ["[192.0.2.1]", "[192.0.2.2]"]),
        ("esmtp:[192.0.2.1]", PORT, ["[192.0.2.1]:2525"]),
        ("esmtp:mx.p.example:[IPv6:2001:db8::1]", PORT, ["mx.p.example:2525", "[2001:db8::1]:2525"]),
        ("esmtp:[192.0.2.1]", OTHER, ["[192.0.2.1]"]),
        ("esmtp:[192.0.2.1]", RELAYS, ["[relay1.example]:25", "[2001:db8::1]:26", "relay2.example:26"]),
        (SMARTHOST, RELAYS, ["[relay1.example]:25", "[2001:db8::1]:26", "relay2.example:26"]),
    ],
)
def test_route(value: str, outbound: Outbound, nexthops: list[str]) -> None:
    """The row's value is the transport and all nexthops, and each of these is a key of the TLS policy."""
    found = route_of(value, outbound)
    assert found.nexthops == tuple(nexthops)
    assert transport_value(found) == f"{outbound.transport}:{', '.join(nexthops)}"
    assert (found.kind, found.service) == (DeliveryKind.ROUTED, outbound.transport)
    assert str(found.tls) == outbound.tls


@pytest.mark.parametrize("outbound", [PLAIN, PORT, OTHER, RELAYS])
@pytest.mark.parametrize(
    ("value", "transport"),
    [
        ("error:5.7.1:no mail here", "error:5.7.1 no mail here"),
        ("error:4.7.0:later", "retry:4.7.0 later"),
        ("error:nohost:gone", "error:5.1.2 gone"),
        ("error:5.7.1:für\timmer\x00", "error:5.7.1 f?r?immer?"),
    ],
)
def test_refusal(value: str, transport: str, outbound: Outbound) -> None:
    """`error:` is never delivered, not even through a smarthost, and its text fits an SMTP reply."""
    found = route_of(value, outbound)
    assert transport_value(found) == transport
    assert (found.nexthops, found.why) == ((), None)


@pytest.mark.parametrize("transport", ["smtp", "closed"])
def test_no_nexthop(transport: str) -> None:
    """Without any nexthop mail waits: `smtp:` alone would send it to the recipient's public MX."""
    found = route_of(SMARTHOST, Outbound("encrypt", transport=transport))
    assert transport_value(found) == "retry:4.3.5 mail for this domain is held: no route to it is known"
    assert found.nexthops == ()


@pytest.mark.parametrize(
    ("families", "value", "smarthost", "nexthops", "left_out"),
    [
        ("all", "esmtp:[2001:db8::1]:[192.0.2.1]", (), ("[2001:db8::1]", "[192.0.2.1]"), ()),
        ("ipv4", "esmtp:[2001:db8::1]:[192.0.2.1]", (), ("[192.0.2.1]",), ("2001:db8::1",)),
        ("ipv6", "esmtp:[2001:db8::1]:[192.0.2.1]", (), ("[2001:db8::1]",), ("192.0.2.1",)),
        ("ipv4", "esmtp:[192.0.2.1]", (), ("[192.0.2.1]",), ()),
        ("ipv6", "esmtp:[192.0.2.1]", (), (), ("192.0.2.1",)),
        ("ipv4", "esmtp:[IPv6:2001:db8::1]:[2001:db8::2]", (), (), ("2001:db8::1", "2001:db8::2")),
        ("ipv4", "esmtp:[mx.p.example]:p.example", (), ("[mx.p.example]", "p.example"), ()),
        ("ipv4", "esmtp:[192.0.2.1]", ("[2001:db8::9]:26", "[192.0.2.9]"), ("[192.0.2.9]",), ("2001:db8::9",)),
        ("ipv6", "esmtp:[2001:db8::1]", ("[192.0.2.9]",), (), ("192.0.2.9",)),
        ("ipv4", "error:5.1.2:gone", (), (), ()),
    ],
)
def test_ip_versions(
    families: Families, value: str, smarthost: tuple[str, ...], nexthops: tuple[str, ...], left_out: tuple[str, ...]
) -> None:
    """A host that Postfix can't take bounces the mail where it comes last; where no other one is left, mail waits."""
    found = route_of(value, Outbound("encrypt", smarthost=smarthost, families=families))
    assert found.nexthops == nexthops
    assert tuple(host.name for host in found.left_out) == left_out
    assert found.why is (Why.FAMILY if left_out and not nexthops else None)


MAPPED = ip_address("::ffff:192.0.2.1")  # Python 3.13 spells it otherwise than 3.11


@pytest.mark.parametrize(
    ("nexthop", "literal"),
    [
        *(("[192.0.2.1]", True), ("[192.0.2.1]:25", True), ("[2001:db8::1]", True), ("[2001:db8::1]:25", True)),
        *(
            (f"[{MAPPED}]", True),
            ("[mx.p.example]", False),
            ("mx.p.example:25", False),
            ("[abc.de]", False),
        ),
        *(("[fade.example]:25", False), ("[bad]", False), ("[1a.example]", False)),
    ],
)
def test_address_literals(nexthop: str, literal: bool) -> None:
    """An address in brackets, with a port or without."""
    host = mail_host(nexthop, 10)
    assert host.is_address is literal
    assert host.nexthop == nexthop


@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=4), st.integers(0, 65535))
def test_addresses(addresses: list[str], port: int) -> None:
    """Every address of a route is a literal nexthop, spelled once."""
    found = route_of("esmtp:" + ":".join(f"[{address}]" for address in addresses), Outbound("encrypt", port=port))
    suffix = f":{port}" if port else ""
    assert found.nexthops == tuple(dict.fromkeys(f"[{address}]{suffix}" for address in addresses))
    assert all(host.is_address for host in found.hosts)


# What is held, for every reason and every renderer

HELD = "mail for this domain is held"
HOLDS = {
    Why.NOTHING: ("4.3.2", HELD),
    Why.LOST: ("4.3.2", f"{HELD}: it has disappeared from the list of its closed network"),
    Why.UNCLEAR: ("4.3.2", f"{HELD}: its line in the closed network's list is not understood"),
    Why.TLS: ("4.7.5", f"{HELD}: its TLS policy can not be met"),
    Why.FOLDED: ("4.3.2", f"{HELD}: its spelling is also that of another domain"),
    Why.ROUTE: ("4.3.5", f"{HELD}: its route is too long"),
    Why.FAMILY: ("4.4.4", f"{HELD}: its route needs an IP version that this gateway does not use"),
}


@pytest.mark.parametrize("why", Why)
@pytest.mark.parametrize("outbound", [PLAIN, RELAYS, None])
def test_held(why: Why, outbound: Outbound | None) -> None:
    """Whatever its route is, mail waits, and both MTAs give the same reply."""
    delivery = delivery_of(Entry(0, "esmtp:[192.0.2.1]", 0, State.HELD, why), outbound)
    dsn, reply = HOLDS[why]
    assert (delivery.kind, delivery.why, delivery.hosts) == (DeliveryKind.HELD, why, ())
    assert transport_value(delivery) == f"retry:{dsn} {reply}"
    assert mailertable_value(delivery) == f'error:{dsn}:"450 {reply}"'


@pytest.mark.parametrize("why", Why)
def test_the_words_for_an_administrator(why: Why) -> None:
    """Every reason has some, and no two reasons the same."""
    reason = why.reason
    assert all((reason.brief, reason.explained, reason.exported.startswith(HELD)))
    others = [other.reason for other in Why if other is not why]
    assert reason.brief not in {other.brief for other in others}
    assert reason.explained not in {other.explained for other in others}


@pytest.mark.parametrize(
    ("entry", "kind", "postfix", "sendmail"),
    [
        (Entry(0, "smtp:[192.0.2.1]"), DeliveryKind.ROUTED, "smtp:[192.0.2.1]", "smtp:[192.0.2.1]"),
        (
            Entry(0, "smtp:[192.0.2.1]", 0, State.KEPT, Why.LOST),
            *(DeliveryKind.ROUTED, "smtp:[192.0.2.1]", "smtp:[192.0.2.1]"),
        ),
        (Entry(0, "error:5.7.1:n\u00f6 <"), DeliveryKind.REFUSED, "error:5.7.1 n? <", 'error:5.7.1:"550 n?"'),
        (Entry(0, "error:4.7.1:later"), DeliveryKind.HELD, "retry:4.7.1 later", 'error:4.7.1:"450 later"'),
        (Entry(0, "", state=State.INBOUND_ONLY), DeliveryKind.INBOUND_ONLY, None, None),
    ],
)
def test_all_other_records(entry: Entry, kind: DeliveryKind, postfix: str | None, sendmail: str | None) -> None:
    delivery = delivery_of(entry, PLAIN)
    assert (delivery.kind, delivery.why) == (kind, None)
    assert (transport_value(delivery), mailertable_value(delivery)) == (postfix, sendmail)
    assert has_row(entry) is (postfix is not None)


def test_what_no_record_gives() -> None:
    assert (transport_value(OWN), mailertable_value(OWN)) == (":", "unlisted")
    assert str(transport_value(CLOSED)).startswith("error:5.4.4 this domain is reached inside")
    assert str(mailertable_value(CLOSED)).startswith('error:5.4.4:"550 this domain is reached inside')
    assert not has_row(None)


def test_preferences() -> None:
    """Hosts of one group share theirs; of smart hosts each has its own, and one that is named twice has its first."""
    found = route_of("smtp:[a.example],[b.example]:[c.example]:[a.example]", PLAIN)
    assert [(host.name, host.preference) for host in found.hosts] == [
        ("a.example", 10),
        ("b.example", 10),
        ("c.example", 20),
    ]
    twice = Outbound("may", smarthost=("[r.example]", "[r.example]:25", "s.example"), port=25)
    found = route_of("smtp:[a.example]", twice)
    assert [(host.nexthop, host.preference) for host in found.hosts] == [("[r.example]:25", 10), ("s.example:25", 20)]
    assert mailertable_value(found) == "relay:[r.example]:s.example"


def test_records_are_rendered_under_their_rules() -> None:
    """Each once for a rule and a value, and those without a row are left out."""
    rules = [Rule("ndb", "", Inbound("off"), PLAIN), Rule("hin", "", Inbound("off"), PORT)]
    one, two = Entry(0, "smtp:[192.0.2.1]"), Entry(1, "smtp:[192.0.2.1]")
    entries = [("a", one), ("b", two), ("c", one), ("d", Entry(0, "", state=State.INBOUND_ONLY)), ("e", two)]
    asked: list[Entry] = []

    def render(entry: Entry, rule: Rule) -> str | None:
        asked.append(entry)
        return transport_value(delivery_of(entry, rule.outbound))

    plain, port = "smtp:[192.0.2.1]", "smtp:[192.0.2.1]:2525"
    assert list(rendered(entries, rules, render)) == [("a", plain), ("b", port), ("c", plain), ("e", port)]
    assert asked == [one, two, entries[3][1]]
