"""The configuration reader: good files to values, bad ones to exactly one line.

Each file in `bad_configurations` has one fault and begins with the error that it must give.
"""

import copy
import datetime
import subprocess
import sys
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from closedmail.config import addresses, build, credentials, load, locations, parse, values
from closedmail.core import host, where
from closedmail.core.model import (
    Brakes,
    CertificatePin,
    Config,
    Gateway,
    Inbound,
    Milter,
    Monitoring,
    Network,
    Outbound,
    Partner,
    Policyd,
    PostfixMaps,
    SendmailMaps,
    Source,
)
from closedmail.core.where import Where, parse_where
from closedmail.errors import ConfigError
from closedmail.routes import nexthop
from closedmail.routes.nexthop import Nexthop, parse_nexthop
from closedmail.words import quote

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad_configurations").glob("*.toml"))
FULL = HERE / "good_configurations" / "full.toml"
MINIMAL = HERE / "good_configurations" / "minimal.toml"

GATEWAY = '[gateway]\nown_domains = ["city.example"]\n'
NETWORK = '[network.ndb]\ninbound = {mode = "enforce", allow_from = ["192.0.2.0/24"]}\noutbound = {tls = "may"}\n'


def network_of(text: str) -> Network:
    return parse(GATEWAY + text).networks[0]


def partner_of(text: str) -> Partner:
    return parse(GATEWAY + text).partners[0]


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_configuration(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    expected = text.partition("\n")[0].removeprefix("# error: ")
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == expected
    assert expected.isprintable()


def test_there_are_bad_configurations() -> None:
    assert len(BAD) > 200


def test_minimal() -> None:
    config = load(MINIMAL)
    inbound = Inbound(mode="enforce", allow_from=(ip_network("192.0.2.0/24"),))
    assert config == Config(
        path=str(MINIMAL),
        gateway=Gateway(own_domains=("city.example",)),
        networks=(
            Network(
                "ndb", inbound, Outbound("may", "closedmail-ndb", own_service=True), closed_domains=("kim.example",)
            ),
        ),
    )


def test_full_tables() -> None:
    config = load(FULL)
    assert config.gateway == Gateway(
        own_domains=("city.example", "xn--kln-sna.example"),
        state_dir="/srv/closedmail",
        trusted_clients=(ip_network("127.0.0.1"), ip_network("::1"), ip_network("10.0.0.0/8")),
        exempt_sasl=False,
        keep_generations=10,
    )
    assert config.postfix == PostfixMaps("/srv/closedmail/postfix", "lmdb", "/etc/postfix-out", 12 * 3600)
    assert config.sendmail == SendmailMaps(
        "/srv/closedmail/sendmail", "btree", "/etc/mail/mailertable.own", "/etc/mail/access.own"
    )
    assert config.policyd == Policyd(
        listen=("inet:127.0.0.1:10025", "inet:[::1]:10025", "unix:/var/spool/postfix/private/closedmail"),
        socket_mode=0o666,
        socket_group="postfix",
        on_failure="dunno",
        metrics_listen="inet:127.0.0.1:9810",
    )
    assert config.milter == Milter(("inet:localhost:0",), 0o600, "smmsp", "mail.city.example")
    assert config.monitoring == Monitoring(
        textfile="/var/lib/prometheus/node-exporter/closedmail.prom", report="/var/www/html/closedmail.html"
    )


def test_full_networks() -> None:
    ndb, kim = load(FULL).networks
    assert ndb == Network(
        name="ndb",
        title="Netz des Bundes",
        source=Source(
            location="https://lists.example/domains.csv",
            format="csv",
            column="Domain",
            signature="https://lists.example/domains.csv.asc",
            key_file="/etc/closedmail/ndb.asc",
            signing_keys=("0123456789ABCDEF0123456789ABCDEF01234567", "FEDCBA9876543210FEDCBA9876543210FEDCBA98"),
            ca_file="/etc/closedmail/ca.pem",
            client_cert="/etc/closedmail/client.pem",
            client_key="/etc/closedmail/client.key",
            max_size=512 * 1024,
            max_age=30 * 86400,
            fetch_max_age=90 * 60,
        ),
        brakes=Brakes(0.025, shrink_floor=0, bad_line_limit=0.0, bad_line_floor=1, grow_limit=0.5, grow_floor=100),
        within=("bund.example", ".xn--gre-6ka8l.example"),
        over=("kim",),
        on_removed="keep",
        hold_for=None,
        closed_domains=("kim.example", "xn--gre-6ka8l.example"),
        outbound=Outbound(
            tls="secure",
            transport="closed-smtp",
            smarthost=("[relay1.example]:25", "[192.0.2.1]", "[2001:db8::1]:2525", "relay2.example:25"),
            port=25,
            tls_match=("mx.ndb.example", ".ndb.example", "nexthop"),
            tls_protocols=">=TLSv1.2:<=TLSv1.3",
            tls_ciphers="high",
        ),
        inbound=Inbound(
            mode="enforce",
            require="ip and cert",
            allow_from=(ip_network("192.0.2.9/32"), ip_network("2001:db8::/32"), ip_network("198.51.100.0/24")),
            allow_route_hosts=True,
            certificates=(
                CertificatePin(issuer="Closed Net CA", subject="mx.ndb.example"),
                CertificatePin(fingerprint="aabbccddeeff00112233445566778899"),
                CertificatePin(pubkey_fingerprint="00112233445566778899aabbccddeeff" * 2),
            ),
            require_tls=True,
            subdomains=True,
            header_from="enforce",
            header_from_exempt=(ip_network("203.0.113.0/24"),),
            reject_text="{{{domain}}} ({network}): {reason}, {client_address}, {generation}",
        ),
        dns_servers=("192.0.2.53", "2001:db8::53"),
    )
    assert kim == Network("kim", Inbound(mode="defer"), Outbound("none", "closedmail-kim", own_service=True))


def test_full_partners() -> None:
    klinik, koeln, alone, gone, form = load(FULL).partners
    assert klinik == Partner(
        key="klinik.example",
        network="ndb",
        route="esmtp:[192.0.2.20]",
        inbound=Inbound(mode="report", allow_from=(ip_network("198.51.100.7/32"),)),
        outbound=Outbound(
            tls="fingerprint", tls_match=("AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD",)
        ),
        contact="Jo Doe <postmaster@klinik.example>",
        note="Form of 2026-11-24,\nsigned.",
    )
    assert koeln == Partner(
        key=".xn--kln-sna.example",
        network="kim",
        inbound=Inbound(mode="defer", require="cert", certificates=(CertificatePin(issuer="Closed Net CA"),)),
        outbound=Outbound("none", "closedmail-kim", port=26, own_service=True),
    )
    assert alone == Partner(key="alone.example", inbound=Inbound(mode="off"))
    assert gone.route == "error:5.1.2:gone"
    assert gone.outbound is None
    assert form.outbound == Outbound("encrypt", "closedmail", own_service=True)


def test_full_sets_every_key_and_each_is_checked() -> None:
    """No key takes a date: one that is known, but not read, would let it through."""
    data = tomllib.loads(FULL.read_text(encoding="utf-8"))
    for name, table in _tables(data):
        for key in table:
            changed = copy.deepcopy(data)
            _at(changed, name)[key] = datetime.date(2026, 11, 24)
            with pytest.raises(ConfigError):
                build(changed)
    network, partner = data["network"]["ndb"], data["partner"]["Klinik.example"]
    for kind, table in (
        (Gateway, data["gateway"]),
        (PostfixMaps, data["postfix"]),
        (SendmailMaps, data["sendmail"]),
        (Policyd, data["policyd"]),
        (Milter, data["milter"]),
        (Monitoring, data["monitoring"]),
        (Inbound, network["inbound"]),
        (Outbound, network["outbound"]),
        (Inbound, partner["inbound"]),
        (Outbound, partner["outbound"]),
    ):
        # What no key sets: whose service it is follows from `transport`, its IP versions are Postfix's.
        assert set(table) == set(kind.__dataclass_fields__) - {"own_service", "families"}
    fields = set(Network.__dataclass_fields__) | set(Source.__dataclass_fields__) | set(Brakes.__dataclass_fields__)
    assert set(network) == fields - {"name", "location", "brakes", "dns_servers"} | {"dns"}
    assert set(partner) == set(Partner.__dataclass_fields__) - {"key"}


def _tables(data: dict[str, Any]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    found: list[tuple[tuple[str, ...], dict[str, Any]]] = [((), data)]
    for names, table in found:
        found += [((*names, name), value) for name, value in table.items() if isinstance(value, dict)]
    return found


def _at(data: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in names:
        data = data[name]
    return data


def test_path_stands_in_the_result_and_in_syntax_errors(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(GATEWAY)
    assert load(path).path == str(path)
    path.write_text("[gateway\n")
    with pytest.raises(ConfigError, match=r"gateway\.toml: line 1, column 9: expected ']'") as caught:
        load(path)
    assert caught.value.key == ""


def test_file_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file; name the configuration with --config"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="can't be read: Is a directory; it must be a file"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="can't be read: Not a directory"):
        load(MINIMAL / "x.toml")
    with pytest.raises(ConfigError, match="larger than 64 MiB"):
        load(Path("/dev/zero"))
    with pytest.raises(ConfigError, match=r"can't be read: embedded null byte"):
        load(tmp_path / "a\0b")
    path = tmp_path / "two\nlines.toml"
    path.write_bytes(b"[gateway]\r\n# caf\xe9\r\n")
    with pytest.raises(ConfigError, match=r"two\\nlines\.toml: line 2: not UTF-8; save the file") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_byte_order_mark_and_dos_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "dos.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GATEWAY.replace("\n", "\r\n").encode())
    assert load(path).gateway.own_domains == ("city.example",)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 100_000,
        "keep_generations = " + "9" * 5000,
        "[gateway]\nkeep_generations = 0x" + "f" * 5000 + '\nown_domains = ["city.example"]',
        "[" + ".".join(["a"] * 5000) + "]",
    ],
    ids=["depth", "digits", "hex-digits", "dots"],
)
def test_monstrous_toml(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert len(str(caught.value)) < 300


# --- inheritance and rules that hang together -------------------------------------------------------------------------


def test_postfix_empty_table_is_not_absent() -> None:
    assert parse(GATEWAY).postfix is None
    assert parse(GATEWAY + "[postfix]\n").postfix == PostfixMaps()
    assert parse(GATEWAY).sendmail is None
    assert parse(GATEWAY + "[sendmail]\n").sendmail == SendmailMaps()


def test_partner_inherits_key_by_key_and_replaces() -> None:
    base = (
        '[network.ndb.inbound]\nmode = "enforce"\nrequire = "ip or cert"\nallow_from = ["192.0.2.0/24"]\n'
        'certificates = [{issuer = "Closed Net CA"}]\nreject_text = "no"\n'
        '[network.ndb.outbound]\ntls = "verify"\ntls_match = ["mx.ndb.example"]\nport = 25\n'
    )
    partner = partner_of(
        base + '[partner."klinik.example"]\nnetwork = "ndb"\n'
        'inbound = {certificates = [], reject_text = "", subdomains = true}\noutbound = {port = 0, tls = "secure"}\n'
    )
    assert partner.inbound == Inbound(
        mode="enforce", require="ip or cert", allow_from=(ip_network("192.0.2.0/24"),), subdomains=True
    )
    assert partner.outbound == Outbound("secure", "closedmail-ndb", tls_match=("mx.ndb.example",), own_service=True)


def test_inherited_names_go_at_a_level_that_matches_nothing() -> None:
    """A row `encrypt match=…` is invalid to Postfix, and whoever loosens the level did not write the names."""
    partner = partner_of(
        NETWORK.replace('"may"', '"secure", tls_match = ["mx.ndb.example"]')
        + '[partner."klinik.example"]\nnetwork = "ndb"\noutbound = {tls = "encrypt"}\n'
    )
    assert partner.outbound == Outbound("encrypt", "closedmail-ndb", own_service=True)


@pytest.mark.parametrize(
    ("network", "partner", "service", "table"),
    [
        ("", "", "closedmail-ndb", "tls_policy-ndb"),
        ('transport = ""', "", "closedmail-ndb", "tls_policy-ndb"),
        ('transport = "smtp"', "", "smtp", "tls_policy"),
        ('transport = "smtp"', 'transport = ""', "closedmail-ndb", "tls_policy-ndb"),
        ("", 'transport = "smtp"', "smtp", "tls_policy"),
        # Named by hand it is a service like any other
        ('transport = "closedmail-ndb"', "", "closedmail-ndb", "tls_policy"),
    ],
)
def test_transport(network: str, partner: str, service: str, table: str) -> None:
    """The service that delivers to a partner of a network, and the table of its TLS policies."""
    found = partner_of(
        f'[network.ndb]\n[network.ndb.inbound]\nmode = "off"\n[network.ndb.outbound]\ntls = "may"\n{network}\n'
        f'[partner."klinik.example"]\nnetwork = "ndb"\n[partner."klinik.example".outbound]\n{partner}\n'
    ).outbound
    assert found is not None
    assert (found.transport, found.tls_table) == (service, table)
    alone = partner_of(
        '[partner."x.example"]\ninbound.mode = "off"\nroute = "esmtp:[192.0.2.1]"\noutbound.tls = "may"\n'
    )
    assert alone.outbound is not None
    assert (alone.outbound.transport, alone.outbound.tls_table) == ("closedmail", "tls_policy")


def test_fingerprints_are_inherited() -> None:
    partner = partner_of(
        NETWORK.replace('"may"', f'"fingerprint", tls_match = ["{"ab" * 20}"]')
        + '[partner."klinik.example"]\nnetwork = "ndb"\noutbound = {port = 26}\n'
    )
    match = (":".join(["AB"] * 20),)
    assert partner.outbound == Outbound("fingerprint", "closedmail-ndb", port=26, tls_match=match, own_service=True)


def test_verify_of_an_address_without_match_is_left_to_sync() -> None:
    text = NETWORK.replace('"may"', '"secure", smarthost = ["[192.0.2.1]:25"]')
    assert network_of(text).outbound.smarthost == ("[192.0.2.1]:25",)


def test_keys_of_a_source_are_tolerated_without_one() -> None:
    network = network_of(
        f'[network.ndb]\nkey_file = "/etc/closedmail/ndb.asc"\nsigning_keys = ["{"AB" * 20}"]\nformat = "csv"\n'
        + NETWORK.partition("\n")[2]
    )
    assert network.source is None


def test_unsigned_source_needs_no_keys() -> None:
    network = network_of(
        '[network.ndb]\nsource = "/srv/mailertable"\nsignature = "none"\n' + NETWORK.partition("\n")[2]
    )
    assert network.source == Source("/srv/mailertable", signature="none")


def test_own_rule_of_a_network_that_applies_to_nobody() -> None:
    unsatisfiable = NETWORK.replace(', allow_from = ["192.0.2.0/24"]', "")
    partner = '[partner."klinik.example"]\nnetwork = "ndb"\ninbound = {allow_from = ["192.0.2.9"]}\n'
    config = parse(GATEWAY + unsatisfiable + partner)
    assert config.networks[0].inbound.allow_from == ()
    assert config.partners[0].inbound.mode == "enforce"
    with pytest.raises(ConfigError, match=r"network\.ndb\.inbound\.require"):
        parse(GATEWAY + unsatisfiable)
    with pytest.raises(ConfigError, match=r"network\.ndb\.inbound\.require"):
        parse(GATEWAY + unsatisfiable.replace("\n", '\nclosed_domains = ["kim.example"]\n', 1) + partner)


@pytest.mark.parametrize(
    "rule",
    [
        'mode = "off"',
        'mode = "off", require = "ip and cert"',
        'mode = "enforce", require = "ip or cert", certificates = [{subject = "mx.klinik.example"}]',
        'mode = "enforce", require = "ip or cert", allow_from = ["192.0.2.9"]',
        'mode = "report", require = "cert", certificates = [{subject = "mx.klinik.example"}], require_tls = true',
        'mode = "defer", require = "ip", allow_from = ["::/0"]',
    ],
)
def test_satisfiable_rules(rule: str) -> None:
    assert partner_of(f'[partner."klinik.example"]\ninbound = {{{rule}}}\n').outbound is None


def test_route_hosts_of_a_list_may_be_addresses() -> None:
    network = network_of(
        '[network.ndb]\nsource = "/srv/mailertable"\nsignature = "none"\n'
        'inbound = {mode = "enforce", allow_route_hosts = true}\noutbound = {tls = "may"}\n'
    )
    assert network.inbound.allow_route_hosts


def test_error_route_needs_no_tls() -> None:
    partner = partner_of('[partner."gone.example"]\nroute = "error:nohost:gone"\ninbound.mode = "off"\n')
    assert (partner.route, partner.outbound) == ("error:5.1.2:gone", None)


def test_the_same_free_port_twice() -> None:
    config = parse(GATEWAY + '[policyd]\nlisten = ["inet:127.0.0.1:0"]\n[milter]\nlisten = ["inet:127.0.0.1:0"]\n')
    assert config.policyd.listen == config.milter.listen


def test_domains_are_kept_once() -> None:
    config = parse('[gateway]\nown_domains = ["köln.example", "xn--kln-sna.example", "KÖLN.example"]\n')
    assert config.gateway.own_domains == ("xn--kln-sna.example",)


# --- values -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 36500), st.sampled_from("smhd"))
def test_durations(amount: int, unit: str) -> None:
    assert values.parse_duration(f"{amount}{unit}") == amount * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


@given(st.integers(1, 10**12 - 1), st.sampled_from(["B", "KiB", "MiB", "GiB"]))
def test_sizes(amount: int, unit: str) -> None:
    assert values.parse_size(f"{amount}{unit}") == amount * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit)


@given(st.integers(0, 10_000))
def test_shares(hundredths: int) -> None:
    assert values.parse_share(f"{hundredths / 100:.2f}%") == hundredths / 10_000


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:c000:200/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_networks(text: str, network: str) -> None:
    assert addresses.parse_network(text) == ip_network(network)


@pytest.mark.parametrize(
    "text", ["", "/", "10/8", "10.0.0.0/-1", "10.0.0.0/ 8", " 10.0.0.0", "::1/129", "\u0661.0.0.0", "1:2"]
)
def test_no_networks(text: str) -> None:
    with pytest.raises(ValueError, match="write an IP address or network"):
        addresses.parse_network(text)


@pytest.mark.parametrize(
    ("text", "nexthop"),
    [
        ("[MX.example]", "[mx.example]"),
        ("köln.example:025", "xn--kln-sna.example:25"),
        ("[relay]", "[relay]"),
        ("[2001:DB8::0:1]:25", "[2001:db8::1]:25"),
        ("[ipv6:2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_nexthops(text: str, nexthop: str) -> None:
    assert str(parse_nexthop(text)) == nexthop


@pytest.mark.parametrize(
    "text",
    ["", "[]", "[a", "a]", "[a]b", "[a]:", "a:smtp", ":25", "2001:db8::1", "192.0.2.1", "[[a]]", "a b", "[a]:65536"],
)
def test_no_nexthops(text: str) -> None:
    with pytest.raises(ValueError, match="found "):
        parse_nexthop(text)


def test_nexthops_in_their_parts() -> None:
    assert parse_nexthop("relay.example:2525") == Nexthop("relay.example", 2525, mx=True)
    assert parse_nexthop("[relay.example]") == Nexthop("relay.example")
    assert parse_nexthop("[IPv6:2001:db8::1]:25") == Nexthop("2001:db8::1", 25)


def test_where_taken_apart() -> None:
    assert parse_where("unix:/run/a:b") == Where(path="/run/a:b")
    assert parse_where("inet:[2001:DB8::1]:25") == Where(host="2001:db8::1", port=25)
    assert parse_where("inet:0.0.0.0:0") == Where(host="0.0.0.0", port=0)  # noqa: S104
    assert parse_where("inet:LocalHost:10025") == Where(host="localhost", port=10025)
    for text in (
        "",
        "inet:",
        "inet:host",
        "inet:1.2.3.4.5:1",
        "inet:[::1]",
        "unix:",
        "unix:/run/",
        "unix:/a\nb",
        "tcp:a:1",
    ):
        with pytest.raises(ValueError, match="found "):
            parse_where(text)


@pytest.mark.parametrize("size", credentials.DIGEST_BYTES)
def test_fingerprints(size: int) -> None:
    digits = "0aB1" * (size // 2)
    coloned = ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
    assert credentials.parse_fingerprint(digits) == credentials.parse_fingerprint(coloned) == digits.lower()
    assert credentials.parse_fingerprint_match(digits) == coloned.upper()


@pytest.mark.parametrize(
    ("text", "protocols"),
    [
        ("", ""),
        ("TLSv1.2", "TLSv1.2"),
        ("!sslv2, !SSLv3 !TLSv1:!TLSv1.1", "!SSLv2:!SSLv3:!TLSv1:!TLSv1.1"),
        (">=TLSv1.2", ">=TLSv1.2"),
    ],
)
def test_tls_protocols(text: str, protocols: str) -> None:
    assert credentials.parse_tls_protocols(text) == protocols


@pytest.mark.parametrize(
    "text", [":", "TLSv1.2:", "=>TLSv1.2", "!", "TLSv1.2:!TLSv1.2", "TLSv1;TLSv1.2", "protocols=TLSv1"]
)
def test_no_tls_protocols(text: str) -> None:
    with pytest.raises(ValueError, match="found "):
        credentials.parse_tls_protocols(text)


@given(st.text(max_size=300))
def test_parsers_raise_nothing_but_value_errors_of_one_line(text: str) -> None:
    for module in (values, addresses, locations, credentials, host, where, nexthop):
        for name, parser in vars(module).items():
            if name.startswith("parse_") and name not in ("parse_literal", "parse_endpoint"):
                reason = ""
                try:
                    parser(text)
                except ValueError as error:
                    reason = str(error)
                assert reason.isprintable(), name


@given(st.text())
def test_quoted_text_is_one_line(text: str) -> None:
    assert quote(text).isprintable()
    assert len(text) > 80 or tomllib.loads(f"x = {quote(text)}") == {"x": text}


# --- anything at all --------------------------------------------------------------------------------------------------

_SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.sampled_from(["", "ip", "off", "none", "may", "10%", "7d", "city.example", "192.0.2.1", "ndb", "a" * 40])
)
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KNOWN = st.sampled_from(sorted({key for _, table in _tables(tomllib.loads(FULL.read_text())) for key in table}))


@given(st.recursive(_ANYTHING, lambda inner: st.dictionaries(_KNOWN, inner, max_size=5), max_leaves=20))
@example({"gateway": {"own_domains": ["\ud800"]}})
@example({"gateway": {"own_domains": ["city.example"], "keep_generations": 16**5000}})
def test_anything_gives_a_config_or_a_config_error(data: object) -> None:
    if isinstance(data, dict):
        _config_or_error(data)


@given(st.data())
def test_any_change_of_a_good_file_gives_a_config_or_a_config_error(data: st.DataObject) -> None:
    tree = tomllib.loads(FULL.read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        _, table = data.draw(st.sampled_from([(name, table) for name, table in _tables(tree) if table]))
        table[data.draw(st.sampled_from(sorted(table)) | _KNOWN | st.text(max_size=5))] = data.draw(_ANYTHING)
        for key in data.draw(st.sets(st.sampled_from(sorted(table)), max_size=1)):
            del table[key]
    _config_or_error(tree)


def _config_or_error(data: dict[str, Any]) -> None:
    caught = None
    try:
        assert isinstance(build(data), Config)
    except ConfigError as error:
        caught = error
    assert caught is None or (caught.key and str(caught).isprintable())


@given(st.text(max_size=200))
def test_any_text_gives_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value).isprintable()


def test_many_partners_stay_quick() -> None:
    """Twice the partners are twice the work, counted in calls."""

    def calls(partners: int) -> int:
        text = GATEWAY + NETWORK
        for at in range(partners):
            text += f'[partner."p{at}.example"]\nnetwork = "ndb"\nroute = "esmtp:[192.0.2.{at % 256}]"\n'
        counted = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal counted
            counted += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            config = parse(text)
        finally:
            sys.setprofile(None)
        assert len(config.partners) == partners
        return counted

    assert 1000 < calls(500) < calls(1000) < 2.1 * calls(500)


def test_no_heavy_imports() -> None:
    """Policyd, the milter and every command read the configuration first."""
    script = "import sys, closedmail.config; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"click", "lmdb", "gnupg", "ssl", "http.client", "asyncio", "logging"} & set(loaded)
