"""Find free TCP ports of this machine, and check whether a server answers on one."""

import random
import socket
from pathlib import Path

from closedmail.errors import ClosedmailError

# Below the kernel's range for outgoing connections (32768 and up), so that a port found free stays so.
_PORTS = range(20000, 32000)


def free_port(address: str = "127.0.0.1") -> int:
    """Find a TCP port on which nobody listens at this address. Raises ClosedmailError where there is none."""
    for port in random.sample(_PORTS, 200):
        if is_free(address, port):
            return port
    raise ClosedmailError(f"no free port on {address}: is it an address of this machine?")


def is_free(address: str, port: int) -> bool:
    """Check whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((address, port))
        except OSError:
            return False
    return True


def smtp_answers(address: str, port: int, *, banner: bool) -> bool:
    """Check whether a server accepts a connection there and, with `banner`, greets as SMTP servers do."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            if not banner:
                return True
            greeting = connection.recv(512)
            connection.sendall(b"QUIT\r\n")
            return greeting[:3].isdigit()
    except OSError:
        return False


def has_ipv6() -> bool:
    """Check whether this machine has an IPv6 address."""
    try:
        return bool(Path("/proc/net/if_inet6").read_text())
    except OSError:
        return False
