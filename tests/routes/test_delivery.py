"""What a mailertable value becomes: a delivery, its hosts, and how Postfix spells them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.core.model import Outbound
from closedmail.mailertable.listing import SMARTHOST
from closedmail.maps.postfix_transport import transport_value
from closedmail.routes.delivery import DeliveryKind, route_of
from closedmail.routes.nexthop import parse_nexthop

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
    ("nexthop", "literal"),
    [
        *(("[192.0.2.1]", True), ("[192.0.2.1]:25", True), ("[2001:db8::1]", True), ("[2001:db8::1]:25", True)),
        *(("[::ffff:192.0.2.1]", True), ("[mx.p.example]", False), ("mx.p.example:25", False), ("[abc.de]", False)),
        *(("[fade.example]:25", False), ("192.0.2.1", False), ("[bad]", False), ("[1a.example]", False)),
    ],
)
def test_address_literals(nexthop: str, literal: bool) -> None:
    """An address in brackets, with a port or without."""
    host = parse_nexthop(nexthop, 10)
    assert host.is_address is literal
    assert host.nexthop == nexthop


@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=4), st.integers(0, 65535))
def test_addresses(addresses: list[str], port: int) -> None:
    """Every address of a route is a literal nexthop, spelled once."""
    found = route_of("esmtp:" + ":".join(f"[{address}]" for address in addresses), Outbound("encrypt", port=port))
    suffix = f":{port}" if port else ""
    assert found.nexthops == tuple(dict.fromkeys(f"[{address}]{suffix}" for address in addresses))
    assert all(host.is_address for host in found.hosts)
