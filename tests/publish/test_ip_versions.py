"""Routes by an IP version that Postfix does not use, with a running Postfix: it would bounce the mail at once."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.daemon import closedmail_inside
from support.network import Site
from support.private_postfix import PrivatePostfix
from support.real import require
from support.sink import Sink

HOST, NOBODY = "127.0.0.7", "127.0.0.8"
SENDER = "mayor@city.example"
IPV6, IPV4 = "2001:db8::1", "192.0.2.1"
CONFIG = """\
[gateway]
state_dir = "{folder}/state"
own_domains = ["city.example"]
[postfix]
map_dir = "{folder}/maps"
map_type = "lmdb"
config_directory = "{etc}"
"""
PARTNER = """\
[partner."{key}"]
inbound.mode = "off"
[partner."{key}".outbound]
tls = "none"
transport = "{service}"
smarthost = {nexthops}
"""
HELD = "retry:4.4.4 mail for this domain is held: its route needs an IP version that this gateway does not use"


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[PrivatePostfix, Path, int]]:
    """A running Postfix that delivers by IPv4, but for its service `six`; the configuration, and a sink's port."""
    require("root", "postfix", "postfix-lmdb")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="closedmail-", dir="/tmp")))
        folder.chmod(0o755)
        port = stack.enter_context(Sink(HOST, 0)).port
        postfix = PrivatePostfix(
            folder / "postfix",
            {
                "inet_protocols": "ipv4",
                "transport_maps": f"lmdb:{folder}/maps/transport",
                "minimal_backoff_time": "1000s",
                "maximal_backoff_time": "1000s",
            },
            services=["six unix - - n - - smtp -o inet_protocols=ipv6"],
        )
        up, down = f"[{HOST}]:{port}", f"[{HOST}]:1"
        config = CONFIG.format(folder=folder, etc=postfix.etc)
        for key, (service, *nexthops) in {
            "up.example": ("smtp", up, f"[{IPV6}]"),
            "down.example": ("smtp", down, f"[{IPV6}]"),
            "alone.example": ("smtp", f"[{IPV6}]", f"[{IPV6}]:26"),
            "six.example": ("six", "[::1]:1", up),
            "four.example": ("six", f"[{IPV4}]"),
        }.items():
            config += PARTNER.format(key=key, service=service, nexthops=json.dumps(nexthops))
        (folder / "closedmail.toml").write_text(config)
        stack.enter_context(postfix)
        yield postfix, folder, port
        print(postfix.log())


def test_nothing_bounces(gateway: tuple[PrivatePostfix, Path, int]) -> None:
    """What such a route holds waits; a host that can't be taken is left out, or it would bounce what others defer."""
    postfix, folder, port = gateway
    done = closedmail_inside("sync", config=folder / "closedmail.toml")
    assert done.status == 0
    transport = {row[0]: row[1] for row in (line.split("\t") for line in rows(folder))}
    assert transport == {
        "up.example": f"smtp:[{HOST}]:{port}",
        "down.example": f"smtp:[{HOST}]:1",
        "alone.example": HELD,
        "six.example": "six:[::1]:1",
        "four.example": HELD,
    }
    remedy = "set it to all, or give the domains another route in [partner] tables"
    for sentence in (
        f"held: [{IPV6}] is an IPv6 address, and inet_protocols of Postfix's service smtp is ipv4: {remedy}",
        f"held: [{IPV4}] is an IPv4 address, and inet_protocols of Postfix's service six is ipv6: {remedy}",
        f"left out of routes: [{HOST}] is an IPv4 address, and inet_protocols of Postfix's service six is ipv6: "
        f"{remedy}",
    ):
        assert sentence in done.stdout
    for key in transport:
        postfix.submit(SENDER, [f"u@{key}"])
    found = {key: postfix.wait_for_log(rf"to=<u@{key}>.* dsn=([0-9.]+), status=(\w+)").groups() for key in transport}
    assert found == {
        "up.example": ("2.0.0", "sent"),
        "down.example": ("4.4.1", "deferred"),
        "alone.example": ("4.4.4", "deferred"),
        "six.example": ("4.4.1", "deferred"),
        "four.example": ("4.4.4", "deferred"),
    }


def test_it_is_lifted(gateway: tuple[PrivatePostfix, Path, int]) -> None:
    """The next sync sees what main.cf and master.cf say, though neither list nor configuration has changed."""
    postfix, folder, port = gateway
    closedmail_inside("sync", config=folder / "closedmail.toml")
    postfix.postconf("-e", "inet_protocols = all")
    postfix.postconf("-P", "six/unix/inet_protocols=all")
    shown = closedmail_inside("status", config=folder / "closedmail.toml")
    assert "alone.example" in shown.stdout
    done = closedmail_inside("sync", config=folder / "closedmail.toml")
    assert (done.status, "held:" in done.stdout) == (0, False)
    assert dict(line.split("\t") for line in rows(folder)) == {
        "up.example": f"smtp:[{HOST}]:{port}, [{IPV6}]",
        "down.example": f"smtp:[{HOST}]:1, [{IPV6}]",
        "alone.example": f"smtp:[{IPV6}], [{IPV6}]:26",
        "six.example": f"six:[::1]:1, [{HOST}]:{port}",
        "four.example": f"six:[{IPV4}]",
    }


def rows(folder: Path) -> list[str]:
    """The rows of the transport table, without its comments."""
    return [line for line in (folder / "maps" / "transport").read_text().splitlines() if not line.startswith("#")]


@pytest.mark.real("postmap", "postconf")
def test_a_list(plain: Site) -> None:
    """Its domains are held with their routes, count as listed, and a release names the remedy."""
    plain.write_main_cf("inet_protocols = ipv4\n")
    plain.put(f"a.example esmtp:[IPv6:{IPV6}]\n.b.example esmtp:[IPv6:{IPV6}]:[{IPV4}]\nc.example esmtp:[{IPV4}]\n")
    report = plain.published()
    assert (report.held, report.domains, len(report.skipped)) == (["a.example"], 2, 0)
    assert [note.partition(" is an")[0] for note in report.notes] == [
        f"left out of routes: [{IPV6}]",
        f"held: [{IPV6}]",
    ]
    assert plain.rows() == {"a.example": HELD, ".b.example": f"smtp:[{IPV4}]", "c.example": f"smtp:[{IPV4}]"}
    assert plain.rows("tls_policy") == {f"[{IPV4}]": "encrypt"}
    assert plain.run("explain", "--json", "--recipient", "a.example").json["verdict"] == "held"
    done = plain.run("release", "a.example")
    assert done.status != 0
    assert "a.example can't be released: inet_protocols of Postfix rules out each address of its route" in done.stderr
    # It was listed all the time: it is lost like any other, and back in force with IPv6.
    plain.write_main_cf()
    assert (plain.published().held, plain.route("a.example")) == ([], f"smtp:[{IPV6}]")


@pytest.mark.real("postmap", "postconf")
def test_a_kernel_without_ipv6(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postfix goes on without it, whatever inet_protocols says."""
    plain.put(f"a.example esmtp:[IPv6:{IPV6}]\n")
    assert plain.published().held == []
    monkeypatch.setattr("closedmail.sync.inputs.has_ipv6", lambda: False)
    assert plain.published().held == ["a.example"]
