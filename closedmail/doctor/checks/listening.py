"""Check where the daemons listen: who can reach them, who can take their place, and whom their units let in."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from closedmail.core.model import Config
from closedmail.core.where import Where, parse_where
from closedmail.doctor.finding import Finding

POLICYD_UNIT, MILTER_UNIT = "closedmail-policyd.service", "closedmail-milter.service"
_METRICS = "policyd.metrics_listen"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104, it is what is warned of


@dataclass(frozen=True, slots=True)
class Listening:
    """The surroundings of the daemons' TCP sockets.

    `users` are those who can log in and run programs, root aside. `closed_units` are the units whose IPAddressDeny=
    keeps all other machines out.
    """

    users: tuple[str, ...] = ()
    closed_units: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """A TCP socket of the configuration: its key there, its address, and the unit that opens it."""

    key: str
    place: Where
    unit: str

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine can connect."""
        try:
            return ip_address(self.place.host).is_loopback
        except ValueError:
            return self.place.host == "localhost"


def tcp_sockets(config: Config) -> list[TcpSocket]:
    """List the TCP sockets that the configuration names."""
    found = [("policyd.listen", where, POLICYD_UNIT) for where in config.policyd.listen]
    if config.policyd.metrics_listen:
        found.append((_METRICS, config.policyd.metrics_listen, POLICYD_UNIT))
    found += [("milter.listen", where, MILTER_UNIT) for where in config.milter.listen]
    places = ((key, parse_where(where), unit) for key, where, unit in found)
    return [TcpSocket(key, place, unit) for key, place, unit in places if not place.path]


def listening_findings(config: Config, listening: Listening) -> Iterator[Finding]:
    """Find sockets that are open too far, or not far enough, and those that any user of this machine may squat."""
    sockets = tcp_sockets(config)
    for each in sockets:
        everywhere = each.place.host in _EVERYWHERE
        if each.unit in listening.closed_units and not each.is_local:
            allowed = " ".join([*([] if everywhere else [each.place.host]), "192.0.2.0/24"])
            yield Finding.of(
                "unit-address",
                f"{each.key} has {each.place}, but {each.unit} lets only 127.0.0.0/8 and ::1 connect: listen there, or "
                f"allow those who may, and its own address: systemctl set-property {each.unit} "
                f"{shlex.quote(f'IPAddressAllow={allowed}')}",
            )
        elif everywhere:
            yield Finding.of(
                "listen-everywhere",
                f"{each.key} has {each.place}: whoever reaches this machine may ask who its partners are; write the "
                "address at which it is asked, or a UNIX socket",
            )
    shared = [each for each in sockets if each.key != _METRICS]
    if shared and listening.users:
        names = ", ".join(listening.users[:3]) + (", …" if listening.users[3:] else "")
        yield Finding.of(
            "listen-shared",
            f"{shared[0].key} has {shared[0].place}, and users can log in here ({names}): any of them can take a TCP "
            "port while the daemon is down, and let all mail pass; write a UNIX socket",
        )
