"""`closedmail probe` beside Postfix: every kind of server at every TLS level, and servers that mean no good."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.real import require

from closedmail.care.probe import Prober
from closedmail.care.probe_targets import ProbeTarget
from closedmail.core.probe_result import HostResult
from closedmail.core.tls_policy import Policy
from closedmail.demo.certificates import Authority, self_signed
from closedmail.demo.postfix import Listener, PrivatePostfix
from closedmail.publish.postfix_client import PostfixClients

REAL_POSTFIX = pytest.mark.real("root", "postfix", "postfix-lmdb", "openssl")
NAME = "mx.koeln.example"


def openssl(*arguments: str, **more: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout


def expired(folder: Path, authority: Authority) -> Path:
    """A chain file of a certificate that ended yesterday."""
    key, request, certificate = (folder / f"expired.{kind}" for kind in ("key", "csr", "pem"))
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", str(key))
    openssl("req", "-new", *new, "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-out", str(request))
    signer = ("-CA", str(authority.ca_file), "-CAkey", str(authority.directory / "ca.key"))
    openssl(
        "x509",
        "-req",
        "-in",
        str(request),
        *signer,
        "-days",
        "-1",
        "-copy_extensions",
        "copy",
        "-out",
        str(certificate),
    )
    certificate.write_text(key.read_text() + certificate.read_text())
    return certificate


@dataclass(frozen=True)
class Bench:
    """A Postfix that delivers to another one: each kind of server is a port, each TLS policy an address."""

    client: PrivatePostfix
    servers: Mapping[str, int]
    policies: tuple[str, ...]
    maps: Path

    def nexthop(self, server: str, policy: str) -> str:
        return f"[127.0.7.{1 + self.policies.index(policy)}]:{self.servers[server]}"

    def deliver(self) -> dict[tuple[str, str], bool]:
        """Send one mail for every server and policy; which ones arrived. What waits is tried at least twice: at level
        may, plain text is for a second try."""
        pairs = {
            (server, policy): f"s{i}p{j}.example"
            for i, server in enumerate(self.servers)
            for j, policy in enumerate(self.policies)
        }
        for table, rows in (
            ("transport", {domain: f"smtp:{self.nexthop(*pair)}" for pair, domain in pairs.items()}),
            ("tls_policy", {self.nexthop(*pair): pair[1] for pair in pairs}),
        ):
            (self.maps / table).write_text("".join(f"{key} {value}\n" for key, value in rows.items()))
            self.client.postmap(f"lmdb:{self.maps / table}")
        self.client.submit("office@city.example", [f"u@{domain}" for domain in pairs.values()])
        deadline = time.monotonic() + 60
        while True:
            tries: dict[str, list[str]] = {}
            for domain, status in re.findall(r"to=<u@(\S+)>, .*status=(\w+)", self.client.log()):
                tries.setdefault(domain, []).append(status)
            if all(
                "deferred" not in tries.get(name, ["deferred"])[-1:] or len(tries.get(name, ())) > 1
                for name in pairs.values()
            ):
                return {pair: "sent" in tries[domain] for pair, domain in pairs.items()}
            assert time.monotonic() < deadline, {domain: tries.get(domain) for domain in pairs.values()}
            time.sleep(0.2)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A directory that Postfix can enter."""
    made = Path(tempfile.mkdtemp(prefix="closedmail-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Bench]:
    require("root", "postfix", "postfix-lmdb", "openssl")
    authority = Authority(folder / "ca")
    right = authority.issue(NAME, [NAME])
    selfmade = self_signed(folder / "self", NAME, [NAME])
    chains = {
        "right": right.chain,
        "wildcard": authority.issue("*.koeln.example", ["*.koeln.example"]).chain,
        "common name": authority.issue(NAME).chain,
        "another alternative": authority.issue(NAME, ["other.example"]).chain,
        "address": authority.issue(NAME, ["127.0.7.1"]).chain,
        "parent": authority.issue("koeln.example", ["koeln.example", "2.1.mx.koeln.example"]).chain,
        "self-signed": selfmade.chain,
        "expired": expired(folder, authority),
        "stranger": Authority(folder / "ca2", "Strange CA").issue(NAME, [NAME]).chain,
    }
    tls = {"smtpd_tls_security_level": "may"}
    kinds = {name: {**tls, "smtpd_tls_chain_files": str(chain)} for name, chain in chains.items()}
    kinds["old TLS"] = {**kinds["right"], "smtpd_tls_protocols": "<=TLSv1.2"}
    kinds["plain"] = {"smtpd_tls_security_level": "none"}
    kinds["refuses"] = {"smtpd_client_restrictions": "reject", "smtpd_delay_reject": "no"}
    policies = (
        "none",
        "may",
        "encrypt",
        "encrypt protocols=>=TLSv1.3",
        "may protocols=>=TLSv1.3",
        f"fingerprint match={right.fingerprint}",
        f"fingerprint match={'AA:' * 31}AA|{selfmade.pubkey_fingerprint}",
        f"verify match={NAME}",
        "verify match=.koeln.example",
        "verify match=MX.Koeln.Example:nobody.example",
        "verify",
        "secure match=koeln.example:.koeln.example",
        "secure match=*.koeln.example",
        "secure match=nexthop",
    )
    listeners = [Listener("0.0.0.0", options=options) for options in kinds.values()]  # noqa: S104
    taking = {"myhostname": "sink.example", "mydestination": "static:all", "inet_protocols": "ipv4"}
    sending = {
        "inet_protocols": "ipv4",
        "smtp_tls_CAfile": str(authority.ca_file),
        "transport_maps": f"lmdb:{folder}/transport",
        "smtp_tls_policy_maps": f"lmdb:{folder}/tls_policy",
        "default_process_limit": "20",
        "queue_run_delay": "2s",
    }
    with (
        PrivatePostfix(folder / "sink", taking, listeners=listeners) as sink,
        PrivatePostfix(folder / "postfix", sending) as client,
    ):
        servers = dict(zip(kinds, (listener.port for listener in sink.listeners), strict=True))
        yield Bench(client, servers, policies, folder)
        print(client.log()[-20000:])


def probe(bench: Bench) -> dict[tuple[str, str], HostResult]:
    """Probe every server under every policy."""
    targets = {}
    for server in bench.servers:
        for policy in bench.policies:
            targets[ProbeTarget(bench.nexthop(server, policy), "smtp", policy, Policy.parse(policy))] = 1
    results = Prober(PostfixClients(str(bench.client.etc)).settings).probe(targets)
    by_nexthop = {result.nexthop: result for result in results}
    return {
        (server, policy): by_nexthop[bench.nexthop(server, policy)]
        for server in bench.servers
        for policy in bench.policies
    }


@REAL_POSTFIX
def test_the_verdict_is_that_of_a_delivery(bench: Bench) -> None:
    probed = probe(bench)
    arrived = bench.deliver()
    assert {pair: result.ok for pair, result in probed.items()} == arrived
    assert {True, False} <= {arrived[pair] for pair in arrived if pair[1].startswith("verify")}
