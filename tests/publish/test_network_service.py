"""A network's mail leaves by a service of its own, on a running Postfix: its TLS policies are nobody else's."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.daemon import closedmail_inside
from support.network import Site
from support.private_postfix import PrivatePostfix
from support.real import SBIN, require
from support.sink import Sink

from closedmail.config import parse
from closedmail.mta.map_types import MapTypes
from closedmail.mta.network_service import (
    NetworkService,
    network_services,
    postconf_command,
    service_commands,
    service_entry,
    service_faults,
)
from closedmail.mta.postfix_config import PostfixConfig, Service

HOST, FROM = "127.0.0.7", "127.0.0.5"
SENDER = "mayor@city.example"
CONFIG = """\
[gateway]
state_dir = "{folder}/state"
own_domains = ["city.example"]
[postfix]
map_dir = "{folder}/maps"
map_type = "lmdb"
config_directory = "{etc}"
"""
NETWORK = """\
[network.{name}]
source = "{folder}/{name}.list"
signature = "none"
[network.{name}.outbound]
tls = "{tls}"
smarthost = ["{nexthop}"]
[network.{name}.inbound]
mode = "off"
"""


def change(etc: Path, *arguments: str) -> None:
    """Change a configuration of Postfix."""
    subprocess.run(["postconf", "-c", str(etc), *arguments], check=True, env={"PATH": f"{SBIN}:/usr/bin:/bin"})  # noqa: S607


class RunningGateway:
    """A Postfix that runs, with two networks that deliver to one host, as the administrator's own mail to a bank does.

    The host offers no TLS. `ndb` takes that as it is, `hin` and the administrator do not.
    """

    def __init__(self, folder: Path, postfix: PrivatePostfix, sink: Sink) -> None:
        self.folder, self.postfix, self.sink = folder, postfix, sink
        self.config = folder / "closedmail.toml"
        text = CONFIG.format(folder=folder, etc=postfix.etc)
        for name, tls in (("ndb", "may"), ("hin", "encrypt")):
            (folder / f"{name}.list").write_text(f"{name}.example\tesmtp:[192.0.2.1]\n")
            text += NETWORK.format(name=name, folder=folder, tls=tls, nexthop=f"[{HOST}]:{sink.port}")
        self.config.write_text(text)

    def sync(self) -> str:
        """Run `sync`; the command that it asks for, "" where it is content."""
        done = closedmail_inside("sync", config=self.config)
        if done.status == 0:
            return ""
        assert done.status == 1
        asked = re.search(
            r"publish-failed.*no unix service (\S+) .*; run: (postconf .*), or let it do all:", done.stdout
        )
        assert asked, done.stdout
        return asked[2]

    def run(self, command: str) -> None:
        """Run a command as an administrator would, and have Postfix see it."""
        environment = {**os.environ, "PATH": f"{SBIN}:/usr/bin:/bin"}
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], env=environment, check=True)  # noqa: S607
        self.postfix.reload()

    def waits(self, recipient: str) -> None:
        """Send a mail, which must wait for TLS."""
        self.postfix.submit(SENDER, [recipient])
        self.postfix.wait_for_log(
            rf"to=<{re.escape(recipient)}>.*status=deferred \(TLS is required, but was not offered"
        )


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    require("root", "postfix", "postfix-lmdb")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="closedmail-", dir="/tmp")))
        folder.chmod(0o755)
        sink = stack.enter_context(Sink(HOST, 0))
        nexthop = f"[{HOST}]:{sink.port}"
        postfix = PrivatePostfix(
            folder / "postfix",
            {
                "smtp_tls_security_level": "may",
                "smtp_destination_concurrency_limit": "3",
                "minimal_backoff_time": "1000s",
                "maximal_backoff_time": "1000s",
            },
            services=[f"smtp unix - - n - 9 smtp -o smtp_bind_address={FROM}"],
        )
        stack.enter_context(postfix)
        made = RunningGateway(folder, postfix, sink)
        # The first evening: sync says what is missing, until nothing is.
        asked = []
        while command := made.sync():
            asked.append(command)
            assert len(asked) <= 2, asked
            made.run(command)
        assert len(asked) == 2
        maps = f"lmdb:{folder}/maps"
        postfix.postconf(
            "-e",
            f"transport_maps = inline:{{ {{ bank.example = smtp:{nexthop} }} }}, {maps}/transport",
            f"smtp_tls_policy_maps = {maps}/tls_policy, inline:{{ {{ {nexthop} = secure match=bank }} }}",
        )
        postfix.reload()
        yield made
        print(postfix.log())


def test_each_has_its_own_policy(gateway: RunningGateway) -> None:
    """Three policies for one nexthop: that of a list, that of another list, and the administrator's."""
    gateway.postfix.submit(SENDER, ["u@ndb.example"])
    (mail,) = gateway.sink.wait()
    assert (mail.recipients, mail.tls) == (("u@ndb.example",), "")
    gateway.waits("u@hin.example")
    gateway.waits("u@bank.example")
    assert len(gateway.sink.mails) == 1
    # It has what `smtp` has: partners see the address that they allow.
    assert mail.peer.startswith(FROM)
    gateway.postfix.wait_for_log(r"postfix/closedmail-ndb/smtp\[\d+\]: .*to=<u@ndb\.example>.*status=sent")
    assert gateway.postfix.postconf("-h", "closedmail-ndb_destination_concurrency_limit") == "3\n"
    entry = gateway.postfix.postconf("-M", "closedmail-hin/unix").split()
    assert entry[1:8] == ["unix", "-", "-", "n", "-", "9", "smtp"]


def test_a_nexthop_without_a_row_fails_closed(gateway: RunningGateway) -> None:
    """The level of the service is the network's."""
    for name, table in (("ndb", "may"), ("hin", "encrypt")):
        assert gateway.postfix.postconf("-P", f"closedmail-{name}/unix/smtp_tls_security_level").endswith(
            f"= {table}\n"
        )
        maps = f"lmdb:{gateway.folder}/maps/tls_policy-{name}"
        assert gateway.postfix.lookup(f"[{HOST}]:{gateway.sink.port}", maps) == table
    assert gateway.postfix.lookup(f"[{HOST}]:{gateway.sink.port}", f"lmdb:{gateway.folder}/maps/tls_policy") is None


@pytest.mark.parametrize(
    "lose",
    [("-MX", "closedmail-hin/unix"), ("-PX", "closedmail-hin/unix/smtp_tls_policy_maps")],
    ids=["gone", "without-its-table"],
)
def test_what_is_lost_is_asked_for(gateway: RunningGateway, lose: tuple[str, str]) -> None:
    """Nothing is published that would bounce, or leave without its TLS policy; what is in force stays."""
    gateway.postfix.postconf(*lose)
    before = (gateway.folder / "maps" / "transport").read_bytes()
    command = gateway.sync()
    assert "closedmail-hin/unix=" in command
    assert (gateway.folder / "maps" / "transport").read_bytes() == before
    gateway.run(command)
    assert gateway.sync() == ""
    assert gateway.postfix.postconf("-P", "closedmail-hin/unix/smtp_bind_address").endswith(f"= {FROM}\n")


# --- What stays in the table of before


@pytest.mark.real("postmap", "postconf")
def test_there_and_back(plain: Site) -> None:
    """Mail that waits was given a service and a nexthop: their row stays for tls_linger, in its table."""
    plain.settings["postfix.tls_linger"] = "1h"
    plain.put("koeln.example esmtp:[192.0.2.1]\n")
    plain.published()
    plain.own_service("ndb")
    plain.set(outbound__transport="")
    plain.published()
    row, shared, own = {"[192.0.2.1]": "encrypt"}, "tls_policy", "tls_policy-ndb"
    assert plain.route("koeln.example") == "closedmail-ndb:[192.0.2.1]"
    assert (plain.rows(shared), plain.rows(own)) == (row, row)
    shown = plain.run("explain", "--json", "--recipient", "u@koeln.example").json
    assert (shown["transport"], shown["tls_policy"]) == ("closedmail-ndb:[192.0.2.1]", row)
    plain.now += 3600
    plain.sync()
    assert (plain.rows(shared), plain.rows(own)) == ({}, row)
    plain.set(outbound__transport="smtp", outbound__tls="may")
    plain.published()
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    assert (plain.rows(shared), plain.rows(own)) == ({"[192.0.2.1]": "may"}, row)
    plain.now += 3600
    plain.sync()
    assert plain.rows(shared) == {"[192.0.2.1]": "may"}


@pytest.mark.real("postmap", "postconf")
def test_what_is_said_of_a_service_and_released_from_its_table(plain: Site) -> None:
    """explain, probe, the administrator's rows and release know the table that the service reads."""
    plain.settings["postfix.tls_linger"] = "1h"
    plain.put("koeln.example esmtp:[192.0.2.1]\nbonn.example esmtp:[192.0.2.2]\n")
    plain.own_service("ndb")
    plain.set(outbound__transport="", outbound__tls="secure", outbound__tls_match=["mx.koeln.example"])
    etc, table = plain.etc, f"{plain.map_dir}/tls_policy-ndb"
    own = plain.etc / "own-policies"
    own.write_text("[192.0.2.2]\tnone\n")
    change(etc, "-e", f"transport_maps = {plain.map_type}:{plain.map_dir}/transport")
    plain.published()
    policy = "secure match=mx.koeln.example"
    shown = plain.run("explain", "--json", "--recipient", "u@koeln.example").json
    assert (shown["verdict"], shown["tls_policy"]) == ("routed", {"[192.0.2.1]": policy})
    assert "looks its TLS policy up elsewhere" not in shown["text"]
    change(etc, "-P", f"closedmail-ndb/unix/smtp_tls_policy_maps=texthash:{own},{plain.map_type}:{table}")
    (row,) = plain.run("sync", "--json").json["own_rows"]
    assert (row["kind"], row["key"], row["value"], row["ours"]) == ("tls", "[192.0.2.2]", "none", policy)
    # A looser demand waits for the row of before, unless that is released, by its nexthop or by the partner.
    plain.set(outbound__tls="may", outbound__tls_match=[])
    plain.sync()
    assert plain.rows("tls_policy-ndb") == {"[192.0.2.1]": policy, "[192.0.2.2]": policy}
    assert plain.run("release", "[192.0.2.1]").status == 0
    assert plain.rows("tls_policy-ndb") == {"[192.0.2.1]": "may", "[192.0.2.2]": policy}
    assert plain.run("release", "bonn.example").status == 0
    assert plain.rows("tls_policy-ndb") == {"[192.0.2.1]": "may", "[192.0.2.2]": "may"}


# --- The entry, as data

HEAD = '[gateway]\nown_domains = ["city.example"]\n[postfix]\nmap_dir = "/maps/"\n'
LISTED = 'source = "/list"\nsignature = "none"'
ALONE = '[partner."{}"]\nroute = "esmtp:[192.0.2.1]"\ninbound.mode = "off"\noutbound.tls = "{}"\n'


def network_ndb(outbound: str, more: str = LISTED) -> str:
    return f'[network.ndb]\n{more}\ninbound.mode = "off"\noutbound = {{ {outbound} }}\n'


def of_ndb(name: str, outbound: str) -> str:
    return f'[partner."{name}"]\nnetwork = "ndb"\nroute = "esmtp:[192.0.2.1]"\noutbound = {{ {outbound} }}\n'


@pytest.mark.parametrize(
    ("text", "services"),
    [
        (network_ndb('tls = "encrypt"'), {"closedmail-ndb": ("/maps/tls_policy-ndb", "encrypt")}),
        (network_ndb('tls = "encrypt", transport = "smtp"'), {}),
        (
            network_ndb('tls = "may"') + of_ndb("a.example", 'tls = "secure"'),
            {"closedmail-ndb": ("/maps/tls_policy-ndb", "may")},
        ),
        (
            network_ndb('tls = "dane", transport = "smtp"') + of_ndb("a.example", 'tls = "secure", transport = ""'),
            {"closedmail-ndb": ("/maps/tls_policy-ndb", "dane")},
        ),
        (ALONE.format("a.example", "secure"), {"closedmail": ("/maps/tls_policy", "secure")}),
        (
            ALONE.format("a.example", "may") + ALONE.format("b.example", "secure"),
            {"closedmail": ("/maps/tls_policy", "encrypt")},
        ),
        ('[partner."a.example"]\ninbound.mode = "off"\n', {}),
        # Nothing is delivered by it
        (network_ndb('tls = "may"', 'closed_domains = ["kim.example"]'), {}),
        (
            network_ndb('tls = "may"', 'closed_domains = ["kim.example"]') + of_ndb("a.kim.example", "port = 25"),
            {"closedmail-ndb": ("/maps/tls_policy-ndb", "may")},
        ),
    ],
)
def test_services(text: str, services: dict[str, tuple[str, str]]) -> None:
    """Which services there are, their tables, and the level of what has no row."""
    found = network_services(parse(HEAD + text, "/etc/closedmail/closedmail.toml"), MapTypes("hash"))
    assert {service.name: (service.path, service.level) for service in found} == services
    assert (
        network_services(
            parse(HEAD.partition("[postfix]")[0] + text, "/etc/closedmail/closedmail.toml"), MapTypes("hash")
        )
        == []
    )


SERVICE = NetworkService("closedmail-ndb", "/maps/tls_policy-ndb", "hash", "encrypt")
OURS = (
    "-o syslog_name=postfix/closedmail-ndb -o smtp_tls_policy_maps=hash:/maps/tls_policy-ndb "
    "-o smtp_tls_security_level=encrypt -o smtp_fallback_relay="
)


def postfix_with(options: dict[str, str], *, version: tuple[int, ...] = (3, 7), **raw: str) -> PostfixConfig:
    """A Postfix whose service `smtp` has these -o settings, and whose main.cf has `raw`."""
    fields = ("-", "-", "y", "-", "20")
    return PostfixConfig(version, raw, raw, (Service("smtp", "unix", True, "smtp", options, options, fields),))


@pytest.mark.parametrize(
    ("postfix", "commands"),
    [
        (postfix_with({}), [f"closedmail-ndb unix - - y - 20 smtp {OURS}"]),
        (PostfixConfig((3, 7), {}, {}, ()), [f"closedmail-ndb unix - - n - - smtp {OURS}"]),
        (postfix_with({}, version=(3, 9)), [f"closedmail-ndb unix - - y - 20 smtp {OURS}"]),
        (postfix_with({}, version=(3, 10)), [f"closedmail-ndb unix - - y - 20 smtp {OURS} -o tls_required_enable=no"]),
        (
            postfix_with({"smtp_helo_name": "a b", "smtp_fallback_relay": "x", "smtp_tls_policy_maps": "hash:/own"}),
            [f"closedmail-ndb unix - - y - 20 smtp {OURS} -o {{ smtp_helo_name = a b }}"],
        ),
        (
            postfix_with({}, smtp_destination_rate_delay="1s", smtp_helo_name="a", smtp_transport_rate_delay="$x"),
            [
                f"closedmail-ndb unix - - y - 20 smtp {OURS}",
                "closedmail-ndb_destination_rate_delay = 1s",
                "closedmail-ndb_transport_rate_delay = $x",
            ],
        ),
    ],
)
def test_commands(postfix: PostfixConfig, commands: list[str]) -> None:
    """What the service takes over from `smtp`, and what it never does."""
    made = service_commands(postfix, SERVICE)
    entry, parameters = f"closedmail-ndb/unix={commands[0]}", tuple(commands[1:])
    assert made == [("-M", "-e", entry), *([("-e", *parameters)] if parameters else [])]
    assert service_faults(postfix, SERVICE) == ["it is not there"]


def test_the_entry_alone() -> None:
    assert service_entry(SERVICE) == f"closedmail-ndb unix - - n - - smtp {OURS}"
    assert postconf_command("/etc/postfix", ["-e", "a = b"]) == "postconf -e 'a = b'"
    assert postconf_command("/srv/x", ["-MX", "a/unix"]) == "postconf -c /srv/x -MX a/unix"
