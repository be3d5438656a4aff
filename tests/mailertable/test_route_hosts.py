"""Hosts that no list may route to: this machine, its links and nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.mailertable.grammar import canonical
from closedmail.mailertable.route_hosts import RouteFaults

assert samples  # its hypothesis profile

OWN = frozenset({"192.0.2.9", "2001:db8::9"})
LOOPBACK, NOBODY, LINK = "a loopback address", "no host's address", "a link-local address"
MULTICAST, BROADCAST, OURS = "a multicast address", "a broadcast address", "an address of this host"
HERE, BARE = "which is this host", "a name without its domain"


@pytest.mark.parametrize(
    ("host", "fault"),
    [
        ("[127.0.0.1]", LOOPBACK),
        ("[127.255.255.254]", LOOPBACK),
        ("[126.255.255.255]", ""),
        ("[128.0.0.0]", ""),
        ("[0.0.0.0]", NOBODY),
        ("[0.255.0.1]", NOBODY),
        ("[1.0.0.0]", ""),
        ("[169.254.0.1]", LINK),
        ("[169.253.255.255]", ""),
        ("[169.255.0.0]", ""),
        ("[223.255.255.255]", ""),
        ("[224.0.0.1]", MULTICAST),
        ("[239.255.255.255]", MULTICAST),
        ("[255.255.255.255]", BROADCAST),
        ("[10.0.0.1]", ""),  # closed networks use private addresses
        ("[172.16.0.1]", ""),
        ("[192.168.0.1]", ""),
        ("[192.0.2.9]", OURS),
        ("[192.0.2.90]", ""),
        ("[IPv6:::1]", LOOPBACK),
        ("[::1]", LOOPBACK),
        ("[IPv6:::]", NOBODY),
        ("[IPv6:fe80::1]", LINK),
        ("[IPv6:febf::1]", LINK),
        ("[IPv6:fec0::1]", ""),
        ("[IPv6:ff02::1]", MULTICAST),
        ("[IPv6:fd00::1]", ""),
        ("[IPv6:2001:DB8:0::9]", OURS),
        ("[IPv6:2001:db8::8]", ""),
        ("[IPv6:::ffff:127.0.0.1]", LOOPBACK),
        ("[IPv6:::ffff:0:0]", NOBODY),
        ("[IPv6:::ffff:a9fe:1]", LINK),
        ("[IPv6:::ffff:192.0.2.9]", OURS),
        ("[IPv6:::ffff:192.0.2.1]", ""),
        ("[IPv6:::127.0.0.1]", LOOPBACK),
        ("[IPv6:::192.0.2.9]", OURS),
        ("[IPv6:::2]", NOBODY),  # 0.0.0.2
        ("localhost", HERE),
        ("[LocalHost.]", HERE),
        ("mail.localhost", HERE),
        ("localhost.localdomain", HERE),
        ("localhost.example", ""),
        ("notlocalhost.example", ""),
        ("mx", BARE),
        ("[mx.]", BARE),
        ("mx.example", ""),
    ],
)
def test_host(host: str, fault: str) -> None:
    """Each host, alone and among others, by whatever mailer."""
    faults = RouteFaults(OWN)
    for value in (f"esmtp:{host}", f"relay:{host}:[192.0.2.1]", f"smtp:mx.p.example,{host}"):
        said = faults[canonical(value)]
        assert said.endswith(fault)
        assert bool(said) == bool(fault)


@pytest.mark.parametrize("value", ["error:5.7.1:mx", "error:4.0.0:localhost"])
def test_refusal(value: str) -> None:
    """What does not route has no fault."""
    assert RouteFaults(OWN)[value] == ""


@given(st.ip_addresses(v=4))
def test_short_way(address: object) -> None:
    """One address alone is looked at by a pattern first, which says the same as the long way."""
    alone, twice = (RouteFaults(OWN)[f"esmtp:[{address}]{more}"] for more in ("", ":[192.0.2.1]"))
    assert alone == twice


def test_many_values() -> None:
    """More values than are remembered."""
    faults = RouteFaults(OWN)
    for number in range(1 << 17):
        assert faults[f"esmtp:[10.{number >> 16}.{number >> 8 & 255}.{number & 255}]"] == ""
    assert len(faults) <= 1 << 16
    assert faults["esmtp:[127.0.0.1]"]
