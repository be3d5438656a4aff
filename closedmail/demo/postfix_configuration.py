"""Render main.cf and master.cf of a private Postfix on loopback.

Nothing leaves the machine unless the caller says so: no DNS, no route to the outside (`default_transport` refuses), and
clients on loopback are strangers (`mynetworks` is an address that nobody uses).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_DEFAULTS: Mapping[str, str] = {
    "compatibility_level": "3.6",
    "myhostname": "gateway.city.example",
    "mydestination": "city.example",
    "mynetworks": "127.0.0.255/32",
    "inet_interfaces": "loopback-only",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "local_transport": "discard:delivered",
    "default_transport": "error:5.4.4 this private Postfix has no route to that domain",
    "relay_transport": "$default_transport",
    "smtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
    "smtpd_peername_lookup": "no",
    "biff": "no",
    "enable_long_queue_ids": "yes",
    # Queued mail is tried again within seconds, and a dead host is not remembered for a minute.
    "queue_run_delay": "1s",
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "2s",
    "transport_retry_time": "1s",
    "smtp_connect_timeout": "5s",
    "in_flow_delay": "0s",
    # Clients that make many mistakes on purpose, from one address.
    "smtpd_error_sleep_time": "0s",
    "smtpd_soft_error_limit": "1000",
    "smtpd_hard_error_limit": "1000",
    "smtpd_client_connection_count_limit": "0",
}

_SERVICES = """\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


@dataclass(frozen=True, slots=True)
class SmtpdListener:
    """One smtpd of master.cf. Port 0 becomes a free one at the start; `options` are its own `-o` settings."""

    address: str = "127.0.0.1"
    port: int = 0
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def silent(self) -> bool:
        """Whether this smtpd waits for the client to speak first, instead of sending a banner."""
        return not {"smtpd_tls_wrappermode", "smtpd_upstream_proxy_protocol"}.isdisjoint(self.options)

    def entry(self) -> str:
        """Render the entry of master.cf."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        options = "".join(f"\n  -o {{ {name} = {value} }}" for name, value in self.options.items())
        return f"{host}:{self.port} inet n - n - - smtpd{options}"


def main_cf(directory: Path, parameters: Mapping[str, str], *, ipv6: bool) -> str:
    """Render main.cf: the defaults above, the caller's parameters, and paths below `directory`."""
    settings = {
        # Without IPv6, XCLIENT refuses IPv6 addresses, also where no listener has one.
        "inet_protocols": "all" if ipv6 else "ipv4",
        **_DEFAULTS,
        **parameters,
        "queue_directory": f"{directory}/queue",
        "data_directory": f"{directory}/data",
        "maillog_file": f"{directory}/log/mail.log",
        # Where a log may be at all is a setting too; the default is /var alone.
        "maillog_file_prefixes": f"{directory}, /dev/stdout",
    }
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


def master_cf(listeners: Sequence[SmtpdListener], services: Sequence[str]) -> str:
    """Render master.cf: the standard services, the listeners, and the caller's `services`.

    A service of the caller's replaces the standard one of the same name and type.
    """
    own = {tuple(entry.split()[:2]) for entry in services}
    standard = [line for line in _SERVICES.splitlines() if tuple(line.split()[:2]) not in own]
    return "\n".join([*standard, *(listener.entry() for listener in listeners), *services]) + "\n"
