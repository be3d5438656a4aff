"""DNS exports on real servers: the MX of every listed domain is the list's, all else is as before, nothing leaks."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.daemon import closedmail_inside
from support.dns_servers import KINDS, PROGRAMS, Answer, Server, own_address, server_with, static_server
from support.gateway import Gateway, make_gateway
from support.real import require

from closedmail.exports.targets import TARGETS

pytestmark = pytest.mark.real("root", "dig", *PROGRAMS)

LIST = (
    "a.example\tesmtp:[192.0.2.1]",
    "b.example\tesmtp:[192.0.2.1]:[IPv6:2001:db8::25]",
    "even.example\tesmtp:[192.0.2.1],[192.0.2.2]",
    "named.example\tesmtp:[mx.named.example]",
    "xn--kln-sna.example\tesmtp:[192.0.2.3]",
    "_x.example\tesmtp:[192.0.2.4]",
    f"{'l' * 63}.{'m' * 63}.{'n' * 63}.example\tesmtp:[192.0.2.5]",
    ".s.example\tesmtp:[192.0.2.9]",
    "y.s.example\tesmtp:[192.0.2.10]",
    "u.v.s.example\tesmtp:[192.0.2.11]",
    ".w.s.example\tesmtp:[192.0.2.12]",
    "hosted.example\tesmtp:[mail.s.example]",
    "gone.example\terror:5.1.2:550 moved away",
    "later.example\terror:4.7.0:450 later",
)
LOST = "lost.example\tesmtp:[192.0.2.13]"
LONG = f"{'l' * 63}.{'m' * 63}.{'n' * 63}.example"
# What the MX of a name leads to: addresses in the order of preference ("held": the mail waits, "never": it is refused
# for good, "public": as without us).
HELD, NEVER, PUBLIC = "held", "never", "public"
EXACT = {
    "a.example": "192.0.2.1",
    "b.example": "192.0.2.1 2001:db8::25",
    "even.example": "192.0.2.1 192.0.2.2",
    "named.example": "203.0.113.7",
    "xn--kln-sna.example": "192.0.2.3",
    "_x.example": "192.0.2.4",
    LONG: "192.0.2.5",
    "y.s.example": "192.0.2.10",
    "u.v.s.example": "192.0.2.11",
    "hosted.example": "203.0.113.7",
    "gone.example": NEVER,
    "later.example": HELD,
    "lost.example": HELD,
    "kim.example": NEVER,
}
# Below a suffix: also beside and below what is listed there.
BELOW = {
    "q.s.example": "192.0.2.9",
    "q.r.s.example": "192.0.2.9",
    "v.s.example": "192.0.2.9",
    "q.v.s.example": "192.0.2.9",
    "q.u.v.s.example": "192.0.2.9",
    "q.y.s.example": "192.0.2.9",
    "q.r.y.s.example": "192.0.2.9",
    "w.s.example": "192.0.2.9",
    "q.w.s.example": "192.0.2.12",
    "q.mail.s.example": "192.0.2.9",
    "q.kim.example": NEVER,
    "q.r.kim.example": NEVER,
}
HOST = {"mail.s.example": "192.0.2.9"}  # the host of a route, below a suffix
UNTOUCHED = (
    *("s.example", "stranger.example", "sub.a.example", "mx.named.example", "other.example", "example", "city.example"),
    *("own.s.example", "q.own.s.example", "q.r.own.s.example", "kimm.example", "notkim.example"),
)
NAMES = (*EXACT, *BELOW, *HOST, *UNTOUCHED)


def internet() -> list[str]:
    """Every name has a public MX, an address and a TXT record there."""
    return [
        record
        for name in NAMES
        for record in (
            f"{name}. 60 IN MX 5 public.{name}.",
            f"{name}. 60 IN A 203.0.113.7",
            f'{name}. 60 IN TXT "v=spf1 -all"',
        )
        if len(name) < 200 or " MX " not in record
    ]


@dataclass
class Bench:
    """A gateway, and the Internet; all in one folder that other users may enter."""

    folder: Path
    gateway: Gateway
    internet: Server

    def export(self, name: str, form: str = "mx") -> Path:
        place = self.folder / f"{name}-{form}"
        said = closedmail_inside("export", name, "--form", form, "--output", str(place), config=self.gateway.config)
        assert said.status == 0, said.stderr
        return place

    def text(self, name: str, form: str = "mx") -> str:
        place = self.export(name, form)
        paths = sorted(place.iterdir()) if place.is_dir() else [place]
        return "".join(path.read_text() for path in paths)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    require("root", "dig", *PROGRAMS)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="closedmail-"))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        gateway = make_gateway(
            folder / "gateway",
            network='signature = "none"\nsource = "{list}"\nclosed_domains = ["kim.example"]\n'
            f'[network.ndb.dns]\nservers = ["{INSIDE}"]',
            partners='[partner."alone.example"]\nroute = "esmtp:[192.0.2.77]"\noutbound.tls = "may"\n'
            'inbound = {mode = "enforce", allow_from = ["198.51.100.7"]}',
        )
        text = gateway.config.read_text().replace("own.land.example", "own.s.example")
        gateway.config.write_text(text)
        gateway.write_list([*LIST, LOST])
        gateway.sync(force=True)
        gateway.write_list(LIST)
        gateway.sync()
        server = stack.enter_context(static_server(folder / "internet", internet()))
        yield Bench(folder, gateway, server)


INSIDE = own_address()


@pytest.fixture(scope="module", params=KINDS)
def served(request: pytest.FixtureRequest, bench: Bench) -> Iterator[tuple[str, Server]]:
    """The server of each target with its `mx` export."""
    name = request.param
    with server_with(name, bench.export(name), bench.internet, bench.folder / f"{name}-server") as server:
        yield name, server


def reached(server: Server, name: str) -> str:
    """Where the MX of a name leads to, in the words of the tables above."""
    found = server.ask(name, "MX")
    if found.fails_for_now:
        return HELD
    if found.status == "NXDOMAIN":
        return NEVER
    addresses: list[str] = []
    for record in sorted(found.data, key=lambda data: int(data.split()[0])):
        target = record.split()[1]
        if target == ".":
            return NEVER
        if target == f"public.{name}.":
            return PUBLIC
        for kind in ("A", "AAAA"):
            told = server.ask(target, kind)
            if told.fails_for_now:
                return HELD
            addresses.extend(told.data)
    return " ".join(addresses) or "no address"


def test_the_mx_of_every_listed_domain_is_the_lists(served: tuple[str, Server]) -> None:
    name, server = served
    assert {domain: reached(server, domain) for domain in EXACT} == EXACT
    expected = dict(BELOW)
    if name == "dnsmasq":  # it has no wildcards: what it can't route it keeps from the public MX
        expected = {domain: to if to == NEVER else HELD for domain, to in BELOW.items()}
    assert {domain: reached(server, domain) for domain in expected} == expected
    hosts = {"mail.s.example": PUBLIC} if name == "bind" else HOST
    assert {domain: reached(server, domain) for domain in hosts} == hosts


def test_preferences_and_kinds_of_hosts(served: tuple[str, Server]) -> None:
    _, server = served
    first, second = "ip-192-0-2-1.closedmail.invalid.", "ip-2001-0db8-0000-0000-0000-0000-0000-0025.closedmail.invalid."
    assert server.ask("b.example", "MX").data == (f"10 {first}", f"20 {second}")
    assert server.ask("even.example", "MX").data == (f"10 {first}", "10 ip-192-0-2-2.closedmail.invalid.")
    assert server.ask(first, "A").data == ("192.0.2.1",)
    assert server.ask(second, "AAAA").data == ("2001:db8::25",)
    assert server.ask(first, "AAAA") == Answer("NOERROR")
    assert server.ask("A.Example", "MX").data == (f"10 {first}",)
    assert server.ask("nobody.closedmail.invalid", "A").data == ()


def test_all_else_is_as_before(served: tuple[str, Server], bench: Bench) -> None:
    _, server = served
    for domain in UNTOUCHED:
        for kind in ("MX", "A", "TXT"):
            assert server.ask(domain, kind) == bench.internet.ask(domain, kind), (domain, kind)
    assert server.ask("nowhere.example", "A").status == "NXDOMAIN"


# Whose other types stay: the names that an export changes, by what they are.
KEPT = {
    "unbound": (*EXACT, *HOST),
    "bind": (*HOST,),
    "dnsmasq": (*EXACT, *HOST),
    "powerdns": (*EXACT, *BELOW, *HOST),
    "knot": (*EXACT, *BELOW, *HOST),
}
SAID = {
    "unbound": "below a suffix the other types (A, TXT and so SPF) are empty",
    "bind": "BIND CAN'T CHANGE ONE TYPE ALONE",
    "dnsmasq": "dnsmasq has no MX records below a suffix",
}


def test_other_types_stay_or_it_is_said(served: tuple[str, Server], bench: Bench) -> None:
    name, server = served
    # dnsmasq does not answer for most names below a suffix, and each of them takes a second.
    below = ("q.s.example", "q.u.v.s.example", "q.kim.example") if name == "dnsmasq" else BELOW
    for domain in (*EXACT, *below, *HOST):
        for kind in ("A", "TXT"):
            found, before = server.ask(domain, kind), bench.internet.ask(domain, kind)
            assert before.data
            if domain in KEPT[name]:
                assert found == before, (domain, kind)
            else:
                assert found.data == (), (domain, kind)
    assert all((SAID.get(known, "never") in bench.text(name)) == (known == name) for known in SAID)


@pytest.mark.parametrize("name", KINDS)
def test_what_mx_records_cannot_say_is_said(bench: Bench, name: str) -> None:
    text = bench.text(name)
    assert "DNS demands no TLS, [network.ndb] does: set 'encrypt' in the mail server" in text


# Forwarding

INSIDE_NAMES = (*EXACT, *BELOW, "s.example", "alone.example", "own.s.example")
NOT_RESOLVED = ("gone.example", "later.example", "lost.example")


@pytest.fixture(params=KINDS)
def forwarding(request: pytest.FixtureRequest, bench: Bench) -> Iterator[tuple[str, Server]]:
    """The server of each target with its `forward` export."""
    name = request.param
    records = [
        record
        for domain in INSIDE_NAMES
        if domain != LONG
        for record in (f"{domain}. 60 IN MX 5 inside.{domain}.", f"{domain}. 60 IN A 10.0.0.7")
    ]
    with ExitStack() as stack:
        stack.enter_context(static_server(bench.folder / f"{name}-inside", records, INSIDE, 53))
        folder = bench.folder / f"{name}-forwarding"
        yield name, stack.enter_context(server_with(name, bench.export(name, "forward"), bench.internet, folder))


def test_listed_domains_are_asked_inside(forwarding: tuple[str, Server], bench: Bench) -> None:
    name, server = forwarding
    for domain in INSIDE_NAMES:
        if domain in (LONG, "alone.example", "own.s.example"):
            continue
        found = server.ask(domain, "MX")
        if domain in NOT_RESOLVED:
            assert found.fails_for_now, domain
        else:
            assert found.data == (f"5 inside.{domain}.",), domain
            assert server.ask(domain, "A").data == ("10.0.0.7",), domain
    for domain in ("stranger.example", "other.example", "city.example", "kimm.example", "notkim.example"):
        for kind in ("MX", "A", "TXT"):
            assert server.ask(domain, kind) == bench.internet.ask(domain, kind), (domain, kind)
    # An own domain in a forwarded zone: as before where the server can, else it is said.
    own = server.ask("own.s.example", "MX")
    if name in ("dnsmasq", "knot"):
        assert own == bench.internet.ask("own.s.example", "MX")
    else:  # there are no root servers here
        assert (own.data == ("5 inside.own.s.example.",)) if name == "powerdns" else own.fails_for_now
    text = bench.text(name, "forward")
    assert ("own domain" in text) == (name not in ("dnsmasq", "knot"))
    assert "DNS servers: resolved as before (1 domain): alone.example" in text


@pytest.mark.parametrize("name", KINDS)
def test_no_fallback_to_the_internet(bench: Bench, name: str) -> None:
    """The network's servers are gone: nobody else is asked."""
    folder = bench.folder / f"{name}-alone"
    with server_with(name, bench.export(name, "forward"), bench.internet, folder) as server:
        for domain in ("a.example", "q.s.example", "kim.example"):
            assert server.ask(domain, "MX").fails_for_now, domain
        assert server.ask("other.example", "MX").data == ("5 public.other.example.",)


def test_forwarding_without_servers(tmp_path: Path) -> None:
    gateway = make_gateway(tmp_path)
    for name, target in TARGETS.items():
        if "forward" in target.forms:
            said = closedmail_inside(
                "export", name, "--form", "forward", "--output", str(tmp_path / name), config=gateway.config
            )
            assert (said.status, "[network.NAME.dns]" in said.error) == (1, True)
