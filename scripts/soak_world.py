"""The partners of a soak, their rules in two editions, and what is right for a mail: worked out from a small table."""

import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Literal

from support.recorded import recorded

from closedmail.mta.own_addresses import own_addresses

Edition = Literal["A", "B"]
EDITIONS: tuple[Edition, ...] = ("A", "B")
OF: dict[Edition, int] = {"A": 1, "B": 2}  # as bits

_OWN = "city.example"
_TRUSTED = ip_network("203.0.113.0/24")
_INSIDE = tuple(map(ip_network, ("192.0.2.0/24", "2001:db8::/32")))
_ISSUER, _SUBJECT = "closed net ca", "mx 1.k\u00f6ln.example"
_GUARDED = "kim.example"

_PLAIN = re.compile(r"[A-Za-z0-9._+=-]+@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")


@dataclass(frozen=True)
class Net:
    """A network of the soak: what proves its partners, and what becomes of a mail that proves nothing."""

    name: str
    word: str = "REJECT 5.7.1"  # "" for mode off
    mode: str = "enforce"
    proofs: tuple[str, ...] = ("ip",)
    rule: str = 'allow_from = ["192.0.2.0/24", "2001:db8::/32"]'


_PIN = f'certificates = [{{issuer = "Closed Net CA", subject = "{_SUBJECT}"}}, {{fingerprint = "FINGERPRINT"}}]'
NETS = (
    Net("enforce"),
    Net("defer", "DEFER 4.7.1", "defer"),
    Net("report", "WARN", "report"),
    Net("off", "", "off"),
    Net("route", rule="allow_route_hosts = true"),
    Net("cert", proofs=("cert",), rule=f'require = "cert"\n{_PIN}'),
    Net("both", proofs=("ip", "cert"), rule=f'require = "ip and cert"\nallow_from = ["192.0.2.0/24"]\n{_PIN}'),
    Net("tls", proofs=("ip", "tls"), rule='require_tls = true\nallow_from = ["192.0.2.0/24", "2001:db8::/32"]'),
    Net("swing"),  # one address in edition A, another in B; every second partner is in B alone
)
# No list may route to this host itself.
_HOSTS = [address for number in range(1, 252) if (address := f"192.0.2.{number}") not in own_addresses()]
_SWING = {"A": "192.0.2.1", "B": "192.0.2.9"}


class World:
    """`partners` of them, spread over the networks."""

    def __init__(self, partners: int) -> None:
        """Nothing is written yet."""
        self.names: dict[str, Net] = {}
        self._routes: dict[str, str] = {}
        self._only_b: set[str] = set()
        for number in range(partners):
            net = NETS[number % len(NETS)]
            name = f"{net.name}{number:05}.example"
            if number % 50 == 49:
                name = f".{name}"
            self.names[name] = net
            self._routes[name] = _HOSTS[number % len(_HOSTS)]
            if net.name == "swing" and number % 2:
                self._only_b.add(name)
        prints = [line for line in recorded()["self-signed-rcpt"].split(b"\n") if line.startswith(b"ccert_fingerprint")]
        self._fingerprint = prints[0].partition(b"=")[2].decode()

    def write(self, folder: Path, edition: Edition, listen: str) -> Path:
        """Write configuration and lists of an edition; where the configuration is."""
        tables = []
        for net in NETS:
            path = folder / f"{net.name}.list"
            lines = [
                f"{name}\tesmtp:[{self._routes[name]}]\n"
                for name, its in self.names.items()
                if its is net and not (edition == "A" and name in self._only_b)
            ]
            path.write_text("".join(lines))
            rule = f'allow_from = ["{_SWING[edition]}"]' if net.name == "swing" else net.rule
            tables.append(
                f'[network.{net.name}]\nsource = "{path}"\nsignature = "none"\non_removed = "release"\n'
                f'shrink_limit = "100%"\ngrow_floor = 1000000\n'
                f"{f'closed_domains = [{json.dumps(_GUARDED)}]' if net is NETS[0] else ''}\n"
                f'[network.{net.name}.outbound]\ntls = "encrypt"\n'
                f'[network.{net.name}.inbound]\nmode = "{net.mode}"\n{rule.replace("FINGERPRINT", self._fingerprint)}\n'
            )
        config = folder / "closedmail.toml"
        config.write_text(
            f'[gateway]\nstate_dir = "{folder}/state"\nown_domains = ["{_OWN}"]\ntrusted_clients = ["{_TRUSTED}"]\n'
            f"[policyd]\nlisten = [{listen}]\n{''.join(tables)}",
            encoding="utf-8",
        )
        return config

    def right(self, attributes: Mapping[bytes, bytes], edition: Edition) -> bytes | None:
        """The one right answer, without its empty line; None where the sender or certificate is too odd to tell."""
        text = {name: value.decode("utf-8", "surrogateescape") for name, value in attributes.items()}
        sender = text.get(b"sender", "")
        if not sender or text.get(b"sasl_username"):
            return b"action=DUNNO"
        client = _address(text.get(b"client_address", ""))
        if isinstance(client, IPv4Address) and client in _TRUSTED:
            return b"action=DUNNO"
        plain = _PLAIN.fullmatch(sender)
        if not plain:
            return None
        domain = plain[1].lower()
        found = self._partner(domain, edition)
        if not found or f".{domain}".endswith(f".{_OWN}"):
            return b"action=DUNNO"
        key, net = found
        certified = self._certified(text) if "cert" in net.proofs else False
        if certified is None:
            return None
        holds = {
            "ip": client is not None and self._may_send(client, key, net, edition),
            "cert": certified,
            "tls": bool(text.get(b"encryption_protocol")),
        }
        lacking = next((proof for proof in net.proofs if not holds[proof]), "")
        if not lacking or not net.word:
            return b"action=DUNNO"
        where = str(client or "unknown")
        why = {
            "ip": f"client address {where} is not authorised for it",
            "cert": f"the client at {where} showed no certificate that is authorised for it",
            "tls": f"the connection from {where} is not encrypted",
        }[lacking]
        reply = f"Mail from {domain} is accepted through {net.name} only: {why}".encode()[:512]
        return f"action={net.word} ".encode() + reply

    def _partner(self, domain: str, edition: Edition) -> tuple[str, Net] | None:
        name, above = domain, domain
        while name:
            net = self.names.get(name)
            if net and not (edition == "A" and name in self._only_b):
                return name, net
            _, dot, above = above.partition(".")
            name = dot + above
        return (_GUARDED, NETS[0]) if f".{domain}".endswith(f".{_GUARDED}") else None

    def _may_send(self, client: IPv4Address | IPv6Address, key: str, net: Net, edition: Edition) -> bool:
        if net.name == "swing":
            return str(client) == _SWING[edition]
        if net.name == "route":
            return str(client) == self._routes[key]
        return any(client in inside for inside in (_INSIDE[:1] if net.name == "both" else _INSIDE))

    def _certified(self, text: Mapping[bytes, str]) -> bool | None:
        if text.get(b"ccert_fingerprint", "").replace(":", "").lower() == self._fingerprint.replace(":", "").lower():
            return True
        names = text.get(b"ccert_issuer", ""), text.get(b"ccert_subject", "")
        if any("%" in name or not name.isascii() for name in names):
            return None
        issuer, subject = (urllib.parse.unquote(name.replace("+", "%")) for name in names)
        # Not casefold(): of names, ASCII letters alone have no case. What is like it but for that is too odd to tell.
        if (issuer.casefold(), subject.casefold()) == (_ISSUER, _SUBJECT):
            return True if issuer.isascii() and subject.replace("\u00f6", "").isascii() else None
        return False

    @property
    def swinging(self) -> str:
        """A partner whose address is another one in each edition."""
        return next(name for name, net in self.names.items() if net.name == "swing" and name not in self._only_b)

    def senders(self) -> Iterator[str]:
        """Each partner's domain, or one below it."""
        return (f"a.b{name}" if name.startswith(".") else name for name in self.names)


@lru_cache(maxsize=65536)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text) if len(text) <= 64 else None
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
