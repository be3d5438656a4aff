"""The nouns of closedmail as frozen values: networks, partners, rules, routes, certificates.

Everything here is plain data, made by `closedmail.config` from TOML (or directly by tests) and read by the core.
Durations are whole seconds, sizes bytes, shares fractions of one. Domain keys are lower-case A-labels: `x` stands for
the domain itself, `.x` for everything below it, as in a Sendmail mailertable.
"""

import shlex
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

DEFAULT_PATH = "/etc/closedmail/closedmail.toml"
IPNetwork = IPv4Network | IPv6Network

Mode = Literal["enforce", "defer", "report", "off"]
Require = Literal["ip", "cert", "ip and cert", "ip or cert"]
TlsLevel = Literal["none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure"]
HeaderFrom = Literal["off", "report", "enforce"]
Families = Literal["all", "ipv4", "ipv6"]
OnRemoved = Literal["hold", "release", "keep"]
ListFormat = Literal["mailertable", "domains", "csv"]


@dataclass(frozen=True, slots=True)
class CertificatePin:
    """One entry of `certificates`: all that is set must match.

    Fingerprints are lower-case hex without colons. Subject and issuer are common names, compared whole, ASCII case
    ignored, and count only where the MTA verified the chain.
    """

    fingerprint: str = ""
    pubkey_fingerprint: str = ""
    subject: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Inbound:
    """The proof that a mail from a partner must give, and what happens if it doesn't."""

    mode: Mode
    require: Require = "ip"
    allow_from: tuple[IPNetwork, ...] = ()
    allow_route_hosts: bool = False
    certificates: tuple[CertificatePin, ...] = ()
    require_tls: bool = False
    subdomains: bool = False
    header_from: HeaderFrom = "off"
    header_from_exempt: tuple[IPNetwork, ...] = ()
    reject_text: str = ""


SHARED_TABLE = "tls_policy"  # the TLS policy table of all services that are not a network's own
_DOOR = "closedmail"  # how the own services are named


def own_service_name(network: str) -> str:
    """Return the name of a network's own delivery service; "" stands for partners without a network."""
    return f"{_DOOR}-{network}" if network else _DOOR


@dataclass(frozen=True, slots=True)
class Outbound:
    """The delivery of mail to a partner by Postfix.

    `transport` is the service of master.cf; `own_service` says that it is the network's own, which setup makes.
    `families` are the IP versions by which Postfix lets that service deliver; the configuration file does not say so.
    """

    tls: TlsLevel
    transport: str = "smtp"
    smarthost: tuple[str, ...] = ()
    port: int = 0
    tls_match: tuple[str, ...] = ()
    tls_protocols: str = ""
    tls_ciphers: str = ""
    own_service: bool = False
    families: Families = "all"

    @property
    def tls_table(self) -> str:
        """The name of the table that has its TLS policies."""
        return SHARED_TABLE + self.transport.removeprefix(_DOOR) if self.own_service else SHARED_TABLE


@dataclass(frozen=True, slots=True)
class Brakes:
    """The limits, as a share of the list and as a number, above which a new list is refused."""

    shrink_limit: float = 0.10
    shrink_floor: int = 5
    bad_line_limit: float = 0.01
    bad_line_floor: int = 5
    grow_limit: float = 0.25
    grow_floor: int = 25


@dataclass(frozen=True, slots=True)
class Source:
    """The place that a network's list comes from, and who may sign it.

    `location` is an https:// URL or absolute path.
    """

    location: str
    format: ListFormat = "mailertable"
    column: str = ""
    signature: str = "inline"
    key_file: str = ""
    signing_keys: tuple[str, ...] = ()
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    max_size: int = 64 * 1024 * 1024
    max_age: int | None = None
    fetch_max_age: int = 86400


@dataclass(frozen=True, slots=True)
class Network:
    """One closed network. `source` is None for a network without a list; `hold_for` None holds until released.

    Nothing but the keys `within` is taken from its list (`x`: x itself, `.x`: all below it), () for no such limit. Its
    exact entries may lie below the suffixes of the networks `over`.

    `inbound` and `outbound` are complete: the configuration requires their modes for every network.
    """

    name: str
    inbound: Inbound
    outbound: Outbound
    title: str = ""
    source: Source | None = None
    brakes: Brakes = field(default_factory=Brakes)
    on_removed: OnRemoved = "hold"
    hold_for: int | None = 7 * 86400
    within: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    closed_domains: tuple[str, ...] = ()
    dns_servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Partner:
    """One `[partner]` table, already merged with its network's keys.

    `key` is `x` or `.x`. `network` is a network's name or "" for a partner without one. `route` is a mailertable
    value, "" for the list's best match. `inbound` is always complete; `outbound` is None where nothing is ever routed
    (alone, without a route and without `outbound.tls`).
    """

    key: str
    inbound: Inbound
    outbound: Outbound | None = None
    network: str = ""
    route: str = ""
    contact: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Gateway:
    own_domains: tuple[str, ...]
    state_dir: str = "/var/lib/closedmail"
    trusted_clients: tuple[IPNetwork, ...] = ()
    exempt_sasl: bool = True
    keep_generations: int = 30


@dataclass(frozen=True, slots=True)
class PostfixMaps:
    map_dir: str = "/var/lib/closedmail/postfix"
    map_type: str = ""
    config_directory: str = "/etc/postfix"
    tls_linger: int = 86400


@dataclass(frozen=True, slots=True)
class SendmailMaps:
    map_dir: str = "/var/lib/closedmail/sendmail"
    map_type: str = "hash"
    own_mailertable: str = ""
    own_access: str = ""


@dataclass(frozen=True, slots=True)
class Policyd:
    """The policy service.

    `listen` has checked WHERE strings (`inet:HOST:PORT`, `unix:PATH`), `socket_mode` a number.
    """

    listen: tuple[str, ...] = ("unix:/run/closedmail/policy.sock",)
    socket_mode: int = 0o660
    socket_group: str = ""
    on_failure: Literal["disconnect", "dunno"] = "disconnect"
    metrics_listen: str = ""


@dataclass(frozen=True, slots=True)
class Milter:
    listen: tuple[str, ...] = ("unix:/run/closedmail/milter.sock",)
    socket_mode: int = 0o660
    socket_group: str = ""
    authserv_id: str = ""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Files that each `sync` rewrites; "" for none. `textfile` is node_exporter's, `report` a page for people."""

    textfile: str = ""
    report: str = ""


def config_option(path: str) -> tuple[str, ...]:
    """Return the command-line option that names a configuration file, () where it is the default one."""
    return () if path == DEFAULT_PATH else ("--config", path)


def closedmail_command(path: str, *arguments: str) -> str:
    """Render a closedmail command with a configuration file, as one types it in a shell.

    Without arguments, render what all such commands begin with.
    """
    return shlex.join(("closedmail", *config_option(path), *arguments))


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration file. `path` is where it was read from, `text` its content."""

    path: str
    gateway: Gateway
    postfix: PostfixMaps | None = None
    sendmail: SendmailMaps | None = None
    policyd: Policyd = field(default_factory=Policyd)
    milter: Milter = field(default_factory=Milter)
    monitoring: Monitoring = field(default_factory=Monitoring)
    networks: tuple[Network, ...] = ()
    partners: tuple[Partner, ...] = ()
    text: str = field(default="", repr=False, compare=False)

    def command(self, *arguments: str) -> str:
        """Render a closedmail command with this file."""
        return closedmail_command(self.path, *arguments)


@dataclass(frozen=True, slots=True)
class Rewriting:
    """The Postfix settings that decide how a queued sender is rewritten (trivial-rewrite(8), postconf(5))."""

    swap_bangpath: bool = True
    allow_percent_hack: bool = True
    append_at_myorigin: bool = True
    myorigin: str = ""
    append_dot_mydomain: bool = False
    mydomain: str = ""
