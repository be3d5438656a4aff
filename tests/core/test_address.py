"""Client addresses and sets of networks."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.core.address import AddressSet, parse_client

assert samples  # its hypothesis profile


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("::192.0.2.1", "::c000:201"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
    ],
)
def test_client(text: str, address: str) -> None:
    """An IPv4-mapped address is its IPv4 address, and no other is."""
    assert parse_client(text) == ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        *("", "unknown", "UNKNOWN", "localhost", "192.0.2", "192.0.2.256", "192.0.2.01", "192.0.2.1 ", " 192.0.2.1"),
        *(
            "192.0.2.1/32",
            "[192.0.2.1]",
            "IPv6:2001:db8::1",
            "2001:db8::1::",
            "192.0.2.1\n",
            "3221225985",
            "\x00",
            "\u0661.\u0662.\u0663.\u0664",
        ),
        *("1" * 65, "2001:db8::1%" + "x" * 64, "\ufffd"),
    ],
)
def test_no_client(text: str) -> None:
    """What is no address is none."""
    assert parse_client(text) is None


@given(st.one_of(st.text(), st.from_regex(r"[0-9a-fA-F:.%]{0,45}", fullmatch=True)))
def test_any_client(text: str) -> None:
    """Any text is an address or none."""
    address = parse_client(text)
    assert address is None or parse_client(str(address)) == address


NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
).map(lambda pair: ip_network(pair, strict=False))


@given(st.lists(NETWORKS, max_size=6), st.ip_addresses(), st.data())
def test_address_set(networks: list[IPv4Network | IPv6Network], stranger: object, data: st.DataObject) -> None:
    """A set says of every address what the ipaddress module says."""
    candidates = [ip_address(str(stranger))]
    for network in networks:
        low, high = int(network.network_address), int(network.broadcast_address)
        space = type(network.network_address)
        candidates += [network.network_address, network.broadcast_address]
        candidates += [space(data.draw(st.integers(low, high)))]
        candidates += [space(number) for number in (low - 1, high + 1) if 0 <= number < 1 << network.max_prefixlen]
    addresses = AddressSet(networks)
    assert bool(addresses) is bool(networks)
    for address in candidates:
        assert (address in addresses) is any(address in network for network in networks)


@pytest.mark.parametrize("networks", [[], ["0.0.0.0/0"], ["::/0", "0.0.0.0/0"]])
def test_no_address(networks: list[str]) -> None:
    """No address is in no set, not even in that of all."""
    assert None not in AddressSet(map(ip_network, networks))


def test_families() -> None:
    """All of IPv6 has no IPv4 address, and the other way round."""
    assert ip_address("192.0.2.1") not in AddressSet([ip_network("::/0")])
    assert ip_address("::1") not in AddressSet([ip_network("0.0.0.0/0")])
