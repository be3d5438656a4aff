"""This host's own addresses, as the Linux kernel tells them (proc_net(5): fib_trie and if_inet6).

Read without a program and without netlink, which a sandbox may not have. `self` stays visible under ProcSubset=pid.
"""

import re
from ipaddress import IPv6Address
from pathlib import Path

FOLDER = Path("/proc/self/net")

# An address, with one line for each kind of route to it.
_IPV4 = re.compile(r"\|-- ([0-9.]+)\n(?:\s+/\d+ [^\n]*\n)*?\s+/32 host LOCAL")
_IPV6 = re.compile(r"^([0-9a-f]{32}) ", re.MULTILINE)


def own_addresses(folder: Path = FOLDER) -> frozenset[str]:
    """Read the addresses, each in its shortest spelling. A kernel without IPv6 has no file of them."""
    ipv4 = _IPV4.findall(_read(folder / "fib_trie"))
    ipv6 = _IPV6.findall(_read(folder / "if_inet6"))
    return frozenset((*ipv4, *(str(IPv6Address(int(digits, 16))) for digits in ipv6)))


def has_ipv6(folder: Path = FOLDER) -> bool:
    """Check whether the kernel knows IPv6 at all; true where it does not say."""
    return (folder / "if_inet6").exists() or not (folder / "fib_trie").exists()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
