"""This host's own addresses, from the kernel's files."""

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from closedmail.mta.own_addresses import has_ipv6, own_addresses

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.7
           /32 link UNICAST
           /32 host LOCAL
        |-- 192.0.2.9
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 192.0.2.9
        /32 host LOCAL
"""
IF_INET6 = """\
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
20010db8000000000000000000000009 04 40 00 82     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


@pytest.mark.parametrize(
    ("fib_trie", "if_inet6", "found"),
    [
        (FIB_TRIE, IF_INET6, {"127.0.0.1", "192.0.2.7", "192.0.2.9", "fe80::fc:ff:fe00:1", "2001:db8::9", "::1"}),
        (FIB_TRIE, None, {"127.0.0.1", "192.0.2.7", "192.0.2.9"}),  # a kernel without IPv6
        (None, IF_INET6, {"fe80::fc:ff:fe00:1", "2001:db8::9", "::1"}),
        (None, None, set()),
        ("", "", set()),
    ],
)
def test_files(tmp_path: Path, fib_trie: str | None, if_inet6: str | None, found: set[str]) -> None:
    for name, text in (("fib_trie", fib_trie), ("if_inet6", if_inet6)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert own_addresses(tmp_path) == found
    assert has_ipv6(tmp_path) is (if_inet6 is not None or fib_trie is None)


def test_this_machine() -> None:
    """All of them can be bound to, loopback is among them, and so is the address that packets leave from."""
    found = own_addresses()
    assert "127.0.0.1" in found
    for text in found:
        address = ip_address(text)
        if not address.is_link_local:  # which needs an interface beside it
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.bind((text, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("198.51.100.1", 9))  # a datagram socket sends nothing
        except OSError:
            return  # no way leads out of this machine
        assert sock.getsockname()[0] in found
