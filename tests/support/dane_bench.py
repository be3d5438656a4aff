"""DANE in a network namespace of its own: a signed zone, a resolver that validates, servers, a Postfix that delivers.

`in_namespace(folder)` runs this module there as a program and gives what it prints: of each case, whether the mail
arrived, the TLS that it came with, and what `Prober` said; and what `closedmail probe` said of a list.
"""

import json
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from closedmail.demo.demo_certificates import self_signed
from closedmail.mta.postfix_client import PostfixClients
from closedmail.probe.probe import Prober
from closedmail.probe.probe_targets import ProbeTarget
from closedmail.routes.tls_policy import Policy
from support.dns_servers import running
from support.namespaces import in_namespace
from support.network import toml
from support.private_postfix import PrivatePostfix
from support.sink import Sink

NEEDS = (
    *("root", "postfix", "openssl", "posttls-finger", "ip", "unshare"),
    *("unbound", "dig", "dnssec-keygen", "dnssec-signzone"),
)
TLS, PLAIN, NOBODY = "127.0.0.21", "127.0.0.22", "127.0.0.23"
_WRONG = "3 1 1 " + "00" * 32
_BOGUS = "3 1 1 " + "11" * 32  # as it is signed; another one is served
_ZONE = f"""\
$TTL 60
@ IN SOA ns h 1 2 3 4 5
@ IN NS ns
@ IN MX 10 right
ns IN A 127.0.0.1
right IN A {TLS}
_25._tcp.right IN TLSA 3 1 1 {{pin}}
wrong IN A {TLS}
_25._tcp.wrong IN TLSA {_WRONG}
both IN A {TLS}
_25._tcp.both IN TLSA {_WRONG}
_25._tcp.both IN TLSA 3 1 1 {{pin}}
absent IN A {TLS}
absentplain IN A {PLAIN}
unusable IN A {TLS}
_25._tcp.unusable IN TLSA 1 1 1 {"00" * 32}
unusableplain IN A {PLAIN}
_25._tcp.unusableplain IN TLSA 1 1 1 {"00" * 32}
plain IN A {PLAIN}
_25._tcp.plain IN TLSA {_WRONG}
gone IN A {NOBODY}
_25._tcp.gone IN TLSA 3 1 1 {{pin}}
bogus IN A {TLS}
_25._tcp.bogus IN TLSA {_BOGUS}
"""
_UNSIGNED = f"""\
$TTL 60
@ IN SOA ns h 1 2 3 4 5
@ IN NS ns
@ IN MX 10 right.signed.example.
wrong IN MX 10 wrong.signed.example.
plain IN MX 10 plain.signed.example.
bare IN MX 10 absentplain.signed.example.
ns IN A 127.0.0.1
host IN A {TLS}
_25._tcp.host IN TLSA {_WRONG}
"""
_UNBOUND = """\
server:
  interface: 127.0.0.1@53
  access-control: 127.0.0.0/8 allow
  use-syslog: no
  pidfile: ""
  chroot: ""
  username: ""
  do-daemonize: no
  directory: "{folder}"
  module-config: "validator iterator"
  trust-anchor-file: "anchor"
  local-zone: "stranger.example." static
  local-data: "stranger.example. 60 IN A 203.0.113.9"
remote-control:
  control-enable: no
auth-zone:
  name: "signed.example"
  zonefile: "zone.signed"
  for-downstream: no
auth-zone:
  name: "unsigned.example"
  zonefile: "unsigned"
  for-downstream: no
"""
SIGNED = ("right", "wrong", "both", "absent", "absentplain", "unusable", "unusableplain", "plain", "gone", "bogus")
NEXTHOPS = (
    *(f"[{name}.signed.example]" for name in SIGNED),
    *("[host.unsigned.example]", f"[{TLS}]", "signed.example", "right.signed.example", "wrong.signed.example"),
    *("unsigned.example", "wrong.unsigned.example", "plain.unsigned.example", "bare.unsigned.example"),
)
# A service is a level and how it is set.
SERVICES = {
    "dane": (),
    "dane-only": (),
    "dane.blind": ("-o smtp_dns_support_level=enabled",),
    "dane-only.blind": ("-o smtp_dns_support_level=enabled",),
    "dane.mx": ("-o smtp_tls_dane_insecure_mx_policy=dane",),
    "dane-only.mx": ("-o smtp_tls_dane_insecure_mx_policy=dane",),
    "dane.own": ("-o smtp_tls_security_level=dane",),
    "dane.encrypt": ("-o smtp_tls_dane_insecure_mx_policy=encrypt",),
}
_MX = tuple(nexthop for nexthop in NEXTHOPS if nexthop.endswith("unsigned.example"))
_AT = {
    "blind": ("[right.signed.example]", "[wrong.signed.example]", "[plain.signed.example]", f"[{TLS}]"),
    "mx": _MX,
    "own": _MX,
    "encrypt": _MX,
}
CASES = [(service, nexthop) for service in SERVICES for nexthop in _AT.get(service.partition(".")[2], NEXTHOPS)]


LIST = "".join(f"{name}.example\tesmtp:[{name}.signed.example]\n" for name in ("absent", "right", "wrong"))


@dataclass(frozen=True)
class Outcome:
    """`cases` are by (service, nexthop), each with `arrived`, `tls`, `probe`; `status` and `said` are the command's."""

    cases: dict[tuple[str, str], dict[str, Any]]
    status: int
    said: str


def outcome_of_all(folder: Path) -> Outcome:
    """Run all cases, below a folder that Postfix can enter."""
    found = in_namespace("dane_bench", folder, 120)
    return Outcome({tuple(case): values for case, values in found["cases"]}, found["status"], found["said"])


def _sign(folder: Path, pin: str) -> None:
    """The zones in files, the signed one's key in `anchor`."""
    folder.mkdir()

    def run(*words: str) -> None:
        subprocess.run(words, cwd=folder, check=True, capture_output=True)

    (folder / "zone").write_text(_ZONE.format(pin=pin))
    (folder / "unsigned").write_text(_UNSIGNED)
    run("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "signed.example")
    run("dnssec-signzone", "-q", "-S", "-z", "-O", "full", "-o", "signed.example", "zone")
    signed = (folder / "zone.signed").read_text()
    changed = re.sub("1" * 56 + "( ?)" + "1" * 8, "1" * 56 + r"\g<1>" + "2" * 8, signed)
    assert changed != signed
    (folder / "zone.signed").write_text(changed)
    (key,) = folder.glob("K*.key")
    (folder / "anchor").write_text(key.read_text())
    (folder / "unbound.conf").write_text(_UNBOUND.format(folder=folder))


def _command(folder: Path, etc: str) -> tuple[int, str]:
    """What `closedmail probe` says of a list, at level dane."""
    (folder / "list").write_text(LIST)
    settings = {
        "gateway.state_dir": str(folder / "state"),
        "gateway.own_domains": ["city.example"],
        "postfix.map_dir": str(folder / "maps"),
        "postfix.config_directory": etc,
        "network.ndb.source": str(folder / "list"),
        "network.ndb.signature": "none",
        "network.ndb.inbound.mode": "off",
        "network.ndb.outbound.tls": "dane",
        "network.ndb.outbound.transport": "smtp",
    }
    (folder / "closedmail.toml").write_text(toml(settings))
    words = [sys.executable, "-m", "closedmail", "--config", str(folder / "closedmail.toml")]
    done = subprocess.run([*words, "sync"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([*words, "probe"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _main(folder: Path) -> None:
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions trust-ad timeout:2 attempts:1\n")
    for command in ("ip link set lo up", "mount --make-rprivate /", f"mount --bind {resolver} /etc/resolv.conf"):
        subprocess.run(command.split(), check=True)
    certificate = self_signed(folder / "certificate", "mx.signed.example", ["mx.signed.example"])
    _sign(folder / "dns", certificate.pubkey_fingerprint.replace(":", ""))
    domains = {case: f"d{number}.example" for number, case in enumerate(CASES)}
    (folder / "transport").write_text(
        "".join(f"{domain} {service}:{nexthop}\n" for (service, nexthop), domain in domains.items())
    )
    main = {
        "smtp_host_lookup": "dns",
        "smtp_dns_support_level": "dnssec",
        "transport_maps": f"texthash:{folder}/transport",
        "inet_protocols": "ipv4",
        "queue_run_delay": "300s",
        "minimal_backoff_time": "300s",
        "maximal_backoff_time": "300s",
    }
    services = [
        f"{name} unix - - n - - smtp -o smtp_tls_policy_maps=static:{name.partition('.')[0]} {' '.join(options)}"
        for name, options in SERVICES.items()
    ]
    with ExitStack() as stack:
        stack.enter_context(running(["unbound", "-d", "-c", "unbound.conf"], "127.0.0.1", 53, folder / "dns"))
        sinks = [
            stack.enter_context(Sink(TLS, 25, certificate=certificate.pair)),
            stack.enter_context(Sink(PLAIN, 25)),
        ]
        postfix = stack.enter_context(PrivatePostfix(folder / "postfix", main, services=services))
        targets = {
            ProbeTarget(nexthop, service, level, Policy(level)): 1
            for service, nexthop in CASES
            for level in (service.partition(".")[0],)
        }
        etc = str(postfix.etc)
        results = Prober(PostfixClients(etc).settings, config_directory=etc).probe(targets)
        assert not any(sink.mails for sink in sinks)
        postfix.submit("office@city.example", [f"u@{domain}" for domain in domains.values()])
        deadline = time.monotonic() + 60
        while len(statuses := dict(re.findall(r"to=<u@(\S+)>, .*(status=\w+ .*)", postfix.log()))) < len(CASES):
            assert time.monotonic() < deadline, statuses
            time.sleep(0.1)
        tls = {mail.recipients[0].partition("@")[2]: mail.tls for sink in sinks for mail in sink.mails}
        probed = {(result.transport, result.nexthop): asdict(result) for result in results}
        found = [
            (
                case,
                {
                    "arrived": "status=sent" in statuses[domain],
                    "tls": tls.get(domain, ""),
                    "why": statuses[domain],
                    "probe": probed[case],
                },
            )
            for case, domain in domains.items()
        ]
        status, said = _command(folder, etc)
    print(json.dumps({"cases": found, "status": status, "said": said}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
