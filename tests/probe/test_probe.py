"""`closedmail probe` beside Postfix: every kind of server at every TLS level, and servers that mean no good."""

import asyncio
import importlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.dns_servers import static_server
from support.gateway import Gateway
from support.network import Site, toml
from support.private_postfix import PrivatePostfix
from support.real import require
from support.sink import Sink

from closedmail.config import parse
from closedmail.demo.demo_certificates import Authority, self_signed
from closedmail.demo.ports import free_port
from closedmail.demo.postfix_configuration import SmtpdListener
from closedmail.mailertable.route_hosts import RouteFaults
from closedmail.mta.client_settings import ClientSettings
from closedmail.mta.postfix_client import PostfixClients, client_settings
from closedmail.mta.sendmail_client import sendmail_settings
from closedmail.probe.mail_hosts import Unresolved, addresses_of, mail_hosts, parse_destination
from closedmail.probe.probe import Prober
from closedmail.probe.probe_file import keep_probe, read_probe
from closedmail.probe.probe_result import HostResult, paste_lines
from closedmail.probe.probe_targets import ProbeTarget, sendmail_targets
from closedmail.probe.server_certificate import read_certificate
from closedmail.routes.tls_policy import Policy
from closedmail.store.snapshot import StoreReader

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


# Servers that are met under one policy, the first ones by their name.
NAMED = {
    "named": "verify",
    "named as the nexthop": "secure match=nexthop",
    "named, by default": "secure",
    "named elsewise": "verify match=hostname:nexthop",
    "asks, is shown one": "encrypt",
    "asks, is shown none": "encrypt",
}


@dataclass(frozen=True)
class Bench:
    """A Postfix that delivers to another one: each kind of server is a port, each TLS policy an address."""

    client: PrivatePostfix
    servers: Mapping[str, int]
    policies: tuple[str, ...]
    maps: Path

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All that is tried: every kind of server under every policy, and those that are met by name, or by another
        service, under one."""
        named = [(server, NAMED[server]) for server in NAMED]
        return [(server, policy) for server in self.servers for policy in self.policies if server not in NAMED] + named

    def service(self, server: str) -> str:
        return "closed" if server == "asks, is shown one" else "smtp"

    def nexthop(self, server: str, policy: str) -> str:
        if server in NAMED:
            host = "127.0.0.1" if server.startswith("asks") else "localhost"
            return f"[{host}]:{self.servers[server]}"
        return f"[127.0.7.{1 + self.policies.index(policy)}]:{self.servers[server]}"

    def deliver(self) -> dict[tuple[str, str], bool]:
        """Send one mail for every server and policy; which ones arrived. What waits is tried at least twice: at level
        may, plain text is for a second try."""
        pairs = {pair: f"d{number}.example" for number, pair in enumerate(self.pairs)}
        for table, rows in (
            ("transport", {domain: f"{self.service(pair[0])}:{self.nexthop(*pair)}" for pair, domain in pairs.items()}),
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
        "localhost": authority.issue("localhost", ["localhost"]).chain,
        "expired": expired(folder, authority),
        "stranger": Authority(folder / "ca2", "Strange CA").issue(NAME, [NAME]).chain,
    }
    tls = {"smtpd_tls_security_level": "may"}
    kinds = {name: {**tls, "smtpd_tls_chain_files": str(chain)} for name, chain in chains.items()}
    kinds["old TLS"] = {**kinds["right"], "smtpd_tls_protocols": "<=TLSv1.2"}
    kinds["plain"] = {"smtpd_tls_security_level": "none"}
    kinds["refuses"] = {"smtpd_client_restrictions": "reject", "smtpd_delay_reject": "no"}
    kinds |= dict.fromkeys(("named", "named as the nexthop", "named, by default"), kinds.pop("localhost"))
    kinds["named elsewise"] = kinds["right"]
    asks = {
        "smtpd_tls_req_ccert": "yes",
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_CAfile": str(authority.ca_file),
    }
    kinds |= {name: {**kinds["right"], **asks} for name in ("asks, is shown one", "asks, is shown none")}
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
    listeners = [SmtpdListener("0.0.0.0", options=options) for options in kinds.values()]  # noqa: S104
    taking = {"myhostname": "sink.example", "mydestination": "static:all", "inet_protocols": "ipv4"}
    sending = {
        "inet_protocols": "ipv4",
        "smtp_tls_CAfile": str(authority.ca_file),
        "transport_maps": f"lmdb:{folder}/transport",
        "smtp_tls_policy_maps": f"lmdb:{folder}/tls_policy",
        "default_process_limit": "20",
        "queue_run_delay": "2s",
    }
    shown = authority.issue("gateway.city.example").chain
    services = [f"closed unix - - n - - smtp -o smtp_tls_chain_files={shown}"]
    with (
        PrivatePostfix(folder / "sink", taking, listeners=listeners) as sink,
        PrivatePostfix(folder / "postfix", sending, services=services) as client,
    ):
        servers = dict(zip(kinds, (listener.port for listener in sink.listeners), strict=True))
        yield Bench(client, servers, policies, folder)
        print(client.log()[-20000:])


def probe(bench: Bench) -> dict[tuple[str, str], HostResult]:
    """Probe every server under every policy."""
    targets = {
        ProbeTarget(bench.nexthop(*pair), bench.service(pair[0]), pair[1], Policy.parse(pair[1])): 1
        for pair in bench.pairs
    }
    results = Prober(PostfixClients(str(bench.client.etc)).settings).probe(targets)
    assert [result.nexthop for result in results] == sorted(result.nexthop for result in results)
    by_nexthop = {result.nexthop: result for result in results}
    return {pair: by_nexthop[bench.nexthop(*pair)] for pair in bench.pairs}


@REAL_POSTFIX
def test_the_verdict_is_that_of_a_delivery(bench: Bench) -> None:
    probed = probe(bench)
    arrived = bench.deliver()
    assert {pair: result.ok for pair, result in probed.items()} == arrived
    assert {True, False} <= {arrived[pair] for pair in arrived if pair[1].startswith("verify")}
    assert {arrived[pair] for pair in NAMED.items()} == {True, False}
    shown, none = (probed[pair] for pair in NAMED.items() if pair[0].startswith("asks"))
    assert "was presented" in shown.client_certificate
    assert (none.client_certificate, none.reachable, none.protocol) == ("", True, "TLSv1.3")


@REAL_POSTFIX
def test_what_is_shown_is_what_posttls_finger_shows(bench: Bench) -> None:
    policy = f"verify match={NAME}"
    for server in ("right", "common name", "another alternative", "self-signed", "stranger"):
        nexthop = bench.nexthop(server, policy)
        command = [
            "posttls-finger",
            "-c",
            "-l",
            "verify",
            "-L",
            "verbose,summary",
            "-F",
            str(bench.maps / "ca" / "ca.pem"),
        ]
        command += [nexthop, NAME]
        environment = {"MAIL_CONFIG": str(bench.client.etc), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        found = re.search(r"subject_CN=.*, issuer_CN=(.*), fingerprint=(\S+), pkey_fingerprint=(\S+)", said)
        assert found, said
        target = ProbeTarget(nexthop, "smtp", policy, Policy.parse(policy))
        (result,) = Prober(PostfixClients(str(bench.client.etc)).settings).probe({target: 1})
        assert (result.issuer, result.fingerprint, result.pubkey_fingerprint) == found.groups()
        assert result.ok is ("Verified TLS connection established" in said)


# Servers that mean no good: each of them is met in bounded time and memory, and nothing that it says moves a terminal.

GREETING = b"220 mx.koeln.example ESMTP\r\n"
OFFER = b"250-mx.koeln.example\r\n250 STARTTLS\r\n"
Behaviour = Callable[[socket.socket], None]


def says(*pieces: bytes, then: str = "close") -> Behaviour:
    """Answers each read with the next piece, the first one unasked; then closes, says nothing more, or for ever the
    same."""

    def behave(peer: socket.socket) -> None:
        for at, piece in enumerate(pieces):
            if at and not peer.recv(4096):
                return
            peer.sendall(piece)
        if then == "close":
            return
        while then == "repeat":
            peer.sendall(pieces[-1])
        while peer.recv(4096):  # until the prober has gone
            pass

    return behave


def drips(peer: socket.socket) -> None:
    for byte in GREETING * 100:
        peer.sendall(bytes([byte]))
        time.sleep(0.1)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[int]:
    """A server on 127.0.0.1 that behaves so on each connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    threading.Thread(target=answer, args=(peer,), daemon=True).start()

        def answer(peer: socket.socket) -> None:
            with suppress(OSError), peer:
                behaviour(peer)

        threading.Thread(target=accept, daemon=True).start()
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        yield int(listener.getsockname()[1])


RECORD = b"\x16\x03\x03\x40\x00" + b"\x0b\x00\xff\xff" + bytes(0x3FFC)
CASES: Mapping[str, tuple[Behaviour, str]] = {
    "closes": (says(b""), "the server closed the connection in place of a greeting"),
    "is silent": (says(b"", then="wait"), "not done within 2 s, and given up"),
    "drips": (drips, "not done within 2 s, and given up"),
    "greets without end": (says(b"x" * 8192, then="repeat"), "the server sent more than 64 KiB in place of a greeting"),
    "greets in lines without end": (
        says(b"220-x\r\n" * 99, then="repeat"),
        "the server sent more than 64 KiB in place of",
    ),
    "is a terminal's enemy": (
        says(b"220 \x1b[2J\r\n", b"550 \x1b]0;x\x07\r\n550 x\r\n"),
        "the server answered after EHLO: 550 x",
    ),
    "greets in colours": (says("554 \x1b[31m\u202e\r\n".encode()), r"in place of a greeting: 554 \x1b[31m\u202e"),
    "speaks TLS at once": (says(RECORD, then="wait"), "not done within 2 s"),
    "speaks HTTP": (
        says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "what is no SMTP reply in place of a greeting: HTTP/1.1 400",
    ),
    "closes after EHLO": (says(GREETING, b""), "the server closed the connection after EHLO"),
    "answers EHLO without end": (
        says(GREETING, b"250-" + b"x" * 4000 + b"\r\n", then="repeat"),
        "more than 64 KiB after EHLO",
    ),
    "closes at STARTTLS": (says(GREETING, OFFER, b""), "the server closed the connection after STARTTLS"),
    "refuses STARTTLS": (says(GREETING, OFFER, b"454 no\r\n", b"221 x\r\n"), "the server refused STARTTLS: 454 no"),
    "closes in the handshake": (
        says(GREETING, OFFER, b"220 go\r\n", b""),
        "the TLS handshake failed: the server closed",
    ),
    "garbage for a handshake": (says(GREETING, OFFER, b"220 go\r\n", b"\xff" * 99), "the TLS handshake failed: "),
    "no handshake": (says(GREETING, OFFER, b"220 go\r\n", then="wait"), "not done within 2 s, and given up"),
    "handshakes without end": (
        says(GREETING, OFFER, b"220 go\r\n", RECORD, then="repeat"),
        "the TLS handshake failed: ",
    ),
    "empty records without end": (
        says(GREETING, OFFER, b"220 go\r\n", b"\x14\x03\x03\x00\x01\x01" * 999, then="repeat"),
        "the TLS handshake failed: ",
    ),
}


def meet(*nexthops: str, policy: str = "encrypt", settings: ClientSettings | None = None) -> list[HostResult]:
    """Probe nexthops under one policy, with two seconds for each."""
    used = settings or ClientSettings("city.example", grades={"medium": "DEFAULT"}, families="ipv4")
    targets = {ProbeTarget(nexthop, "smtp", policy, Policy.parse(policy)): 1 for nexthop in nexthops}
    return Prober(lambda _: used, patience=2.0).probe(targets)


def test_servers_that_mean_no_good() -> None:
    with ExitStack() as stack:
        ports = {name: stack.enter_context(serving(behaviour)) for name, (behaviour, _) in CASES.items()}
        results = {result.nexthop: result for result in meet(*(f"[127.0.0.1]:{port}" for port in ports.values()))}
    for name, (_, error) in CASES.items():
        result = results[f"[127.0.0.1]:{ports[name]}"]
        assert (result.reachable, result.ok, result.protocol) == (True, False, ""), name
        assert error in (result.error or ""), name
        assert all(line.isprintable() and len(line) < 400 for line in result.lines())


def test_hosts_that_are_not_there() -> None:
    port = free_port()
    for nexthop, error in (
        (f"[127.0.0.1]:{port}", "127.0.0.1: Connection refused"),
        ("[no.such.host.invalid]", "no.such.host.invalid has no address: "),
        ("[x..y]:25", "[x..y]:25 is not a host that can be probed"),
        ("[127.0.0.1]:99999", "[127.0.0.1]:99999 is not a host that can be probed"),
        ("[2001:db8::1]:25", ""),
    ):
        (result,) = meet(nexthop)
        assert (result.reachable, result.ok) == (False, False)
        assert (result.error or "").startswith(error)


@pytest.mark.parametrize("name", ["x..y", "x" * 64, "no.such.host.invalid"])
def test_names_that_have_no_address(name: str) -> None:
    """An MX record may have any: what Python can't even ask for is no other error than what nobody knows."""
    with pytest.raises(Unresolved, match=f"^{name} has no address: "):
        asyncio.run(addresses_of(name, 25, ClientSettings("gateway.example")))


def test_tls_has_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake, too, is bounded: with a small bound an honest one is too long."""
    require("openssl")
    monkeypatch.setattr("closedmail.probe.attempt._MOST_RAW", 1024)
    with Sink("127.0.0.7", certificate=Authority(tmp_path).issue(NAME).pair) as sink:
        (result,) = meet(f"[127.0.0.7]:{sink.port}")
    assert result.error == "the TLS handshake failed: the server sent more than 1 KiB"


@pytest.mark.parametrize(
    ("own", "chains"),
    [
        ({}, (("/m/c", "/m/k"),)),
        ({"smtp_tls_cert_file": "/s/c"}, (("/s/c", "/s/c"),)),
        ({"smtp_tls_cert_file": "/s/c", "smtp_tls_key_file": "/s/k"}, (("/s/c", "/s/k"),)),
        ({"smtp_tls_cert_file": ""}, ()),
        ({"smtp_tls_chain_files": "/s/a, /s/b"}, (("/s/a", "/s/a"), ("/s/b", "/s/b"))),
        ({"smtp_tls_eccert_file": "/s/e"}, (("/m/c", "/m/k"), ("/s/e", "/s/e"))),
    ],
)
def test_which_certificate_is_ours(own: Mapping[str, str], chains: tuple[tuple[str, str], ...]) -> None:
    """master.cf's `-o` in front of main.cf; a key of main.cf's is never that of the service's certificate."""
    main = {"smtp_tls_cert_file": "/m/c", "smtp_tls_key_file": "/m/k", "smtp_tls_eckey_file": ""}
    assert client_settings({**main, **own}, own).chains == chains


def test_what_a_certificate_says_is_text(tmp_path: Path) -> None:
    require("openssl")
    evil = "\N{RIGHT-TO-LEFT OVERRIDE}<script>\u2028"
    with Sink("127.0.0.7", certificate=self_signed(tmp_path, evil).pair) as sink:
        (result,) = meet(f"[127.0.0.7]:{sink.port}")
        assert sink.mails == []
    assert result.ok
    assert result.names == (r"\u202e<script>\u2028",)
    assert all(line.isprintable() for line in [*result.lines(), *paste_lines([result])])


def test_trust_that_is_not_to_be_had(tmp_path: Path) -> None:
    require("openssl")
    authority = Authority(tmp_path)
    with Sink("127.0.0.7", certificate=authority.issue(NAME, [NAME]).pair) as sink:
        plain = ClientSettings("city.example", grades={"medium": "DEFAULT"})
        for settings, error in (
            (plain, "the certificate is not trusted: Postfix trusts no certificate authority: set smtp_tls_CAfile"),
            (
                replace(plain, ca_file="/nowhere"),
                "the certificate is not trusted: smtp_tls_CAfile /nowhere can't be used: No",
            ),
            (
                replace(plain, protocols="TLSv9"),
                "Postfix's TLS settings can't be followed: unknown TLS protocol 'TLSv9'",
            ),
            (replace(plain, ciphers="best"), "Postfix's TLS settings can't be followed: unknown cipher grade 'best'"),
            (replace(plain, grades={"medium": "x"}), "Postfix's TLS settings can't be followed: "),
            (replace(plain, digest="crc"), "smtp_tls_fingerprint_digest: unsupported hash type crc"),
            (replace(plain, bind_address="192.0.2.1"), "127.0.0.7: Cannot assign requested address"),
            (replace(plain, ca_file=str(authority.ca_file)), None),
        ):
            (result,) = meet(f"[127.0.0.7]:{sink.port}", policy=f"verify match={NAME}", settings=settings)
            assert (result.error or "")[: len(error or "")] == (error or "")
            assert result.ok is (error is None)


def test_own_certificate_and_address(tmp_path: Path) -> None:
    require("openssl")
    authority = Authority(tmp_path)
    ours = authority.issue("gateway.city.example")
    settings = ClientSettings(
        "city.example", grades={"medium": "DEFAULT"}, chains=((str(ours.chain),) * 2,), bind_address="127.0.0.9"
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(NAME).pair)
    context.load_verify_locations(authority.ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    seen: list[tuple[str, str, list[bytes]]] = []

    def watches(peer: socket.socket) -> None:
        said = []
        for piece in (GREETING, OFFER, b"220 go\r\n"):
            peer.sendall(piece)
            said.append(peer.recv(4096) if piece[:6] != b"220 go" else b"")
        with context.wrap_socket(peer, server_side=True) as inside:
            for piece in (b"250 hello\r\n", b"221 bye\r\n"):
                said.append(inside.recv(4096))
                inside.sendall(piece)
            certificate = inside.getpeercert(binary_form=True)
            shown = read_certificate(certificate).fingerprint("sha256") if certificate else ""
            seen.append((str(inside.getpeername()[0]), shown, said))

    with serving(watches) as port:
        (result,) = meet(f"[127.0.0.1]:{port}", settings=settings)
        assert result.ok, result
        assert result.client_certificate == f"{ours.chain} was presented where asked for"
        gone = replace(settings, chains=(("/nowhere/a", "/nowhere/b"),))
        (result,) = meet(f"[127.0.0.1]:{port}", settings=gone)
        assert result.ok, result
        assert result.client_certificate.startswith("/nowhere/a was NOT presented: No such file")
    said = [b"EHLO city.example\r\n", b"STARTTLS\r\n", b"", b"EHLO city.example\r\n", b"QUIT\r\n"]
    assert seen == [("127.0.0.9", ours.fingerprint, said), ("127.0.0.9", "", said)]


def test_mx_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without brackets is expanded as by an MTA: in the order of preference, and itself where it has no MX."""
    require("unbound", "dig", "python3-dnspython")
    asyncresolver = importlib.import_module("dns.asyncresolver")
    records = [
        "koeln.example. 60 IN MX 20 localhost.",
        "koeln.example. 60 IN MX 10 no.such.host.invalid.",
        "null.example. 60 IN MX 0 .",
        "localhost. 60 IN A 127.0.0.1",
    ]
    settings = ClientSettings("city.example", grades={"medium": "DEFAULT"}, families="ipv4")
    with (
        static_server(tmp_path / "dns", records) as server,
        serving(says(GREETING, b"250 x\r\n", b"221 x\r\n")) as port,
    ):
        resolver = asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [server.address], server.port
        monkeypatch.setattr(asyncresolver, "default_resolver", resolver)
        first, second = meet(f"koeln.example:{port}", policy="may", settings=settings)
        assert (first.host, first.reachable, second.host, second.ok) == (
            "localhost",
            True,
            "no.such.host.invalid",
            False,
        )
        (result,) = meet(f"localhost:{port}", policy="may", settings=settings)
        assert (result.host, result.ok) == ("localhost", True)
        (result,) = meet("null.example", policy="may", settings=settings)
        assert (result.ok, result.error) == (False, "null.example has a null MX record: it takes no mail")
        (result,) = meet("nobody.example", policy="may", settings=settings)
        assert (result.error or "").startswith("the MX hosts of nobody.example can't be looked up: ")
        # Where Postfix looks up none, neither does probe.
        (result,) = meet(f"koeln.example:{port}", policy="may", settings=replace(settings, looks_up_mx=False))
        assert (result.error or "").startswith("koeln.example has no address: ")
        found = asyncio.run(mail_hosts(parse_destination("koeln.example"), settings))
        assert found == ["no.such.host.invalid", "localhost"]
        assert asyncio.run(mail_hosts(parse_destination("[koeln.example]"), settings)) == ["koeln.example"]
        monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
        (result,) = meet("koeln.example", policy="may", settings=settings)
        assert "install python3-dnspython" in (result.error or "")


# The command


KEYS = ["nexthop", "domains", "reachable", "starttls", "policy", "ok", "names", "issuer", "not_after", "fingerprint"]
KEYS += ["pubkey_fingerprint", "error"]
REAL = pytest.mark.real("postmap", "postconf", "openssl")


@pytest.fixture
def partners_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lists route to loopback, where the partners' servers of a test are."""
    monkeypatch.setattr(RouteFaults, "__missing__", lambda *_: "")


@REAL
@pytest.mark.usefixtures("partners_here")
def test_the_command(plain: Site, tmp_path: Path) -> None:
    certificate = Authority(tmp_path).issue(NAME, [NAME, "192.0.2.7"])
    with Sink("127.0.0.7", certificate=certificate.pair) as sink, Sink("127.0.0.8", sink.port) as bare:
        plain.set(outbound__port=sink.port)
        plain.put(
            "koeln.example\tesmtp:[127.0.0.7]\nbonn.example\tesmtp:[127.0.0.7]\n.land.example\tesmtp:[127.0.0.7]\n"
            "gone.example\terror:5.1.2:550 gone\nplain.example\tesmtp:[127.0.0.8]\nhold.example\tesmtp:[300.1.1.1]\n"
        )
        plain.published()
        outcome = plain.run("probe", "--json")
        assert (outcome.status, outcome.stderr, list(outcome.json)) == (1, "", ["hosts"])
        first, second = outcome.json["hosts"]
        assert list(first)[: len(KEYS)] == KEYS
        assert {key: first[key] for key in KEYS if key != "not_after"} == {
            "nexthop": f"[127.0.0.7]:{sink.port}",
            "domains": 3,
            "reachable": True,
            "starttls": True,
            "policy": "encrypt",
            "ok": True,
            "names": [NAME, "192.0.2.7"],
            "issuer": "Closed Net CA",
            "fingerprint": certificate.fingerprint,
            "pubkey_fingerprint": certificate.pubkey_fingerprint,
            "error": None,
        }
        assert first["days_left"] in (29, 30)
        assert [second[key] for key in ("nexthop", "domains", "starttls", "ok")] == [
            f"[127.0.0.8]:{sink.port}",
            1,
            False,
            False,
        ]
        kept = read_probe(plain.state_dir)
        assert kept is not None
        assert [result.to_json() for result in kept.results] == outcome.json["hosts"]

        outcome = plain.run("probe", "koeln.example", "deep.land.example", ".land.example")
        assert (outcome.status, outcome.stderr) == (0, "")
        assert outcome.stdout.startswith(f"[127.0.0.7]:{sink.port} (3 domains, TLS encrypt): ok\n")
        assert f'certificates = [{{ pubkey_fingerprint = "{certificate.pubkey_fingerprint}" }}]\n' in outcome.stdout
        assert outcome.stdout.endswith("\n1 host, none not ok.\n")
        again = read_probe(plain.state_dir)
        assert again is not None
        assert (again.probed_at, [result.domains for result in again.results]) == (kept.probed_at, [3, 1])

        outcome = plain.run("probe")
        assert outcome.status == 1
        assert "  error: the server offers no STARTTLS, and TLS level encrypt demands it\n" in outcome.stdout
        assert outcome.stdout.endswith("\n2 hosts, 1 not ok.\n")
        assert sink.mails == bare.mails == []

        # What the list has lost is held, and has no route.
        plain.put("koeln.example\tesmtp:[127.0.0.7]\n")
        plain.published(force=True)
        outcome = plain.run("probe", "--json")
        assert [(host["nexthop"], host["domains"]) for host in outcome.json["hosts"]] == [
            (f"[127.0.0.7]:{sink.port}", 1)
        ]
    for domain, words in (
        ("stranger.example", "is not routed by a closed network"),
        ("gone.example", "has no route"),
        ("hold.example", "is held"),
        ("no domain", "is no domain"),
    ):
        outcome = plain.run("probe", domain)
        assert (outcome.status, outcome.stdout) == (1, "")
        assert words in outcome.stderr
        assert len(outcome.stderr.splitlines()) == 1


@REAL
@pytest.mark.usefixtures("partners_here")
def test_paste_is_in_the_digest_that_smtpd_makes(plain: Site, tmp_path: Path) -> None:
    """And the pasted line is what the configuration takes."""
    certificate = self_signed(tmp_path, NAME)
    plain.write_main_cf("smtpd_tls_fingerprint_digest = sha1\nsmtp_tls_fingerprint_digest = sha512\n")
    with Sink("127.0.0.7", certificate=certificate.pair) as sink:
        plain.set(outbound__port=sink.port)
        plain.put("koeln.example\tesmtp:[127.0.0.7]\n")
        plain.published()
        outcome = plain.run("probe")
    (pin,) = re.findall(r'certificates = \[\{ pubkey_fingerprint = "([0-9A-F:]+)" \}\]', outcome.stdout)
    assert len(pin) == 59  # SHA-1
    (result,) = read_probe(plain.state_dir).results  # type: ignore[union-attr]
    assert len(result.pubkey_fingerprint or "") == 191  # SHA-512
    plain.partner("koeln.example", network="ndb", inbound__require="cert", inbound__certificates=[])
    text = toml(plain.settings).replace("certificates = []", f'certificates = [{{ pubkey_fingerprint = "{pin}" }}]')
    assert parse(text).partners[0].inbound.certificates[0].pubkey_fingerprint == pin.replace(":", "").lower()


@REAL
def test_what_stands_in_the_way(plain: Site) -> None:
    outcome = plain.run("probe")
    assert outcome.status == 1
    assert f"run: closedmail --config {plain.config_path} sync" in outcome.stderr
    plain.put("koeln.example\terror:5.1.2:550 gone\n")
    plain.published()
    outcome = plain.run("probe")
    assert (outcome.status, outcome.stdout) == (0, "\nNo domain has a route.\n".lstrip())
    (plain.state_dir / "probe.json").unlink()
    (plain.state_dir / "probe.json").mkdir()
    outcome = plain.run("probe", "--json")
    assert (outcome.status, outcome.json) == (0, {"hosts": []})
    assert outcome.stderr.startswith("closedmail: note: the result is not kept for the report: ")
    plain.drop("postfix.")
    outcome = plain.run("probe")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "neither [postfix] nor [sendmail]" in outcome.stderr


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"probed_at": "", "hosts": [{}]}', '{"probed_at": 1, "hosts": []}', "[" * 9999]
)
def test_a_broken_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "probe.json").write_text(text)
    assert read_probe(tmp_path) is None
    keep_probe(tmp_path, [HostResult("[192.0.2.1]", 1, probed_at="2026-11-24T03:00:00Z")], "")
    kept = read_probe(tmp_path)
    assert kept is not None
    assert [result.nexthop for result in kept.results] == ["[192.0.2.1]"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", "abc"),
        ("names", [1]),
        ("ok", 1),
        ("domains", "1"),
        ("not_after", "soon"),
        ("probed_at", ""),
        ("error", 5),
    ],
)
def test_a_value_of_another_kind_is_none(tmp_path: Path, key: str, value: object) -> None:
    good = HostResult("[192.0.2.1]", 1, probed_at="2026-11-24T03:00:00Z").to_json()
    for item, readable in ((good, True), ({**good, key: value}, False)):
        (tmp_path / "probe.json").write_text(json.dumps({"probed_at": "", "hosts": [item]}))
        assert (read_probe(tmp_path) is not None) is readable


def test_sendmail_demands(tmp_path: Path) -> None:
    """Where Sendmail alone delivers, its demands are by domain: TLS_Rcpt."""
    rules = 'signature = "none"\nsource = "{list}"'
    gateway = Gateway(tmp_path)
    hosts = {"koeln.example": "koeln", "bonn.example": "bonn", "aachen.example": "koeln", ".land.example": "land"}
    gateway.write_list(f"{domain}\tesmtp:[mx.{host}.example]" for domain, host in hosts.items())
    gateway.configure(
        network=rules,
        outbound='tls = "secure"',
        partners='[partner."bonn.example"]\nnetwork = "ndb"\noutbound.tls = "may"\n'
        '[partner."aachen.example"]\nnetwork = "ndb"\noutbound = {tls = "verify", tls_match = ["relay.example"]}\n',
    )
    gateway.sync()
    with StoreReader(gateway.store) as store:
        targets = sendmail_targets(store.current())
        (below,) = sendmail_targets(store.current(), ["deep.land.example"])
    assert [(target.nexthop, target.row, count) for target, count in targets.items()] == [
        ("[mx.bonn.example]", "may", 1),
        ("[mx.koeln.example]", "VERIFY:128+CN:mx.koeln.example", 1),
        ("[mx.koeln.example]", "VERIFY:128+CN:relay.example", 1),
        ("[mx.land.example]", "VERIFY:128+CN:mx.land.example", 1),
    ]
    assert (below.nexthop, below.row) == ("[mx.land.example]", "VERIFY:128+CN:mx.land.example")


def test_sendmail_settings(tmp_path: Path) -> None:
    (tmp_path / "sendmail.cf").write_text(
        "V10/Berkeley\nDjmail.city.example\nO CACertPath=/etc/ssl/certs\nO CACertFile=/etc/mail/ca.pem\n"
        "O ClientCertFile=/etc/mail/c.pem\nO ClientKeyFile=/etc/mail/k.pem\n#O CACertFile=/no\nO ServerCertFile=/no\n"
    )
    found = sendmail_settings(tmp_path / "sendmail.cf")
    assert (found.helo, found.ca_file, found.ca_path) == ("mail.city.example", "/etc/mail/ca.pem", "/etc/ssl/certs")
    assert (found.chains, found.mta) == ((("/etc/mail/c.pem", "/etc/mail/k.pem"),), "Sendmail")
