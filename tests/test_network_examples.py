"""postfix-examples/: every closedmail.toml loads, and those of the networks publish and decide as their pages say.

The files are used as they are, but for the places of `PLACES` and what is marked in them as the administrator's to
fill in; the lists are made up, in the format that the example names.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.network import MINUTE, Outcome, Signers, Site, gateway_folder
from support.real import require

from closedmail.config import load

FOLDER = Path(__file__).parents[1] / "postfix-examples"
CONFIGURATIONS = sorted(FOLDER.rglob("closedmail.toml"))
# What has a page of its own and a test that applies it.
APPLIED = {"netz-des-bundes", "partner-by-partner", "sendmail"}
NETWORKS = ("bea", "de-mail", "ekom21", "hin", "incamail", "industry", "kim", "nhs")

DOMAINS = b"# from the network, 2026-11-24\nspital.example\npraxis.example\n"
DE_MAIL = b"amt.demail.example\n.provider.demail.example\n"
NHS = (
    b"\xef\xbb\xbfOrganisation,Region,Domain,DMARC\r\n"
    b'"Trust, The",North,trust.example,reject\r\n'
    b"St Mary\x92s Surgery,South,surgery.example,none\r\n"  # a quotation mark of Windows, as the real file has them
    b"Everybody,,nhs.uk,\r\n"
    b"Two,North,one.example and two.example,\r\n"
)
LISTS = {
    "ekom21": b"kassel.example\tesmtp:[192.0.2.61]\nfulda.example\tesmtp:[192.0.2.62]\n",
    "hin": DOMAINS,
    "incamail": DOMAINS + b"kanton.example\n",
    "de-mail": DE_MAIL,
    "nhs": NHS,
}


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_it_loads(path: Path) -> None:
    config = load(path)
    assert config.networks
    assert all(network.inbound.mode in ("report", "off") for network in config.networks), "first look, then enforce"


def test_every_configuration_is_looked_at() -> None:
    assert {path.parent.name for path in CONFIGURATIONS} == APPLIED | set(NETWORKS)


@pytest.mark.parametrize("name", ["netz-des-bundes", *NETWORKS])
def test_the_page_says_how_lists_and_routes_come_and_who_says_so(name: str) -> None:
    page = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    assert "**How lists and routes reach a member**" in page
    assert "\nSources: " in page
    assert f"({name})" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_no_name_is_a_real_one(path: Path) -> None:
    """But KIM's, without which its guard guards nothing."""
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    names = re.findall(r"(?:[\w-]+\.)+([a-z]{2,})\b", " ".join(re.findall(r'"[^"]*"', text)))
    files = {"asc", "csv", "key", "own", "pem", "sock"}
    assert set(names) - files == {"example"} | ({"telematik"} if path.parent.name == "kim" else set())


def text_of(name: str) -> str:
    return (FOLDER / name / "closedmail.toml").read_text(encoding="utf-8")


def put_in_force(name: str, site: Site) -> Outcome:
    """Fill the example in, enforce it, and run its first sync."""
    text, source = text_of(name), site.folder / "list"
    key_file = re.search(r'^key_file = "(.*)"', text, re.MULTILINE)
    if name in LISTS:
        when = site.now - MINUTE
        source.write_bytes(site.signers.net.clearsign(LISTS[name], when=when) if key_file else LISTS[name])
    if key_file:
        text = text.replace(key_file[1], str(site.key_file))
    for was, becomes in {
        "/var/lib/closedmail/postfix": str(site.map_dir),
        "/var/lib/closedmail": str(site.state_dir),
        '"/etc/postfix"': f'"{site.etc}"',
        "0123456789ABCDEF0123456789ABCDEF01234567": site.signers.net.fingerprint,
        'mode = "report"': 'mode = "enforce"',
    }.items():
        text = text.replace(was, becomes)
    text = re.sub(r'^source = ".*?"', f'source = "{source}"', text, flags=re.MULTILINE)
    site.config_path.write_text(text, encoding="utf-8")
    for network in load(site.config_path).networks:
        site.own_service(network.name)
    return site.run("sync")


@pytest.fixture(scope="module", params=NETWORKS)
def example(request: pytest.FixtureRequest, signers: Signers) -> Iterator[tuple[str, Site]]:
    require("gpg", "postmap", "postconf")
    with pytest.MonkeyPatch.context() as patch, gateway_folder(patch) as folder:
        site = Site(folder, signers)
        patch.setattr(site, "write_config", lambda: None)  # it stays the example's
        outcome = put_in_force(str(request.param), site)
        assert (outcome.status, outcome.stderr) == (0, ""), outcome
        assert "Generation 1 is in force." in outcome.stdout
        yield str(request.param), site


# The recipient, the verdict, and where its mail goes, with which TLS policy.
OUT: dict[str, list[tuple[str, str, str | None, str | None]]] = {
    "ekom21": [
        ("a@kassel.example", "routed", "closedmail-ekom21:[192.0.2.61]:25", "encrypt"),
        ("a@sub.kassel.example", "none", None, None),
        ("a@city.example", "none", None, None),
    ],
    "kim": [
        ("praxis@tm.kim.telematik", "error", "error:5.4.4", None),
        ("praxis@kim.telematik", "error", "error:5.4.4", None),
        ("praxis@xkim.telematik", "none", None, None),
    ],
    "bea": [
        ("DE.BRAK.1@bea.example", "error", "error:5.4.4", None),
        ("DE.BRAK.1@office.bea.example", "error", "error:5.4.4", None),
    ],
    "hin": [
        ("a@spital.example", "routed", "closedmail-hin:[192.0.2.40]:25", "encrypt"),
        ("a@elsewhere.example", "none", None, None),
    ],
    "incamail": [
        ("a@spital.example", "routed", "closed:[relay.incamail.example]:25", "secure match=relay.incamail.example"),
        ("a@kanton.example", "routed", "closed:[relay.incamail.example]:25", "secure match=relay.incamail.example"),
    ],
    "de-mail": [
        ("a@amt.demail.example", "routed", "closedmail-demail:[192.0.2.50]:25", "encrypt"),
        ("a@x.provider.demail.example", "routed", "closedmail-demail:[192.0.2.50]:25", "encrypt"),
        ("a@mistyped.demail.example", "error", "error:5.4.4", None),
    ],
    "nhs": [
        ("a@trust.example", "routed", "closedmail-nhs:[relay.nhs.example]:25", "secure match=relay.nhs.example"),
        ("a@surgery.example", "routed", "closedmail-nhs:[relay.nhs.example]:25", "secure match=relay.nhs.example"),
        ("a@nhs.uk", "none", None, None),
        ("a@one.example", "none", None, None),
    ],
    "industry": [
        (
            "a@motor.example",
            "routed",
            "closed:[mailin1.motor.example]:25, [mailin2.motor.example]:25",
            "secure match=mailin1.motor.example:mailin2.motor.example",
        ),
        (
            "a@bank.motor.example",
            "routed",
            "closed:[mailin1.motor.example]:25, [mailin2.motor.example]:25",
            "secure match=mailin1.motor.example:mailin2.motor.example",
        ),
        ("a@supplier.example", "routed", "closed:[mx.supplier.example]:25", "secure match=mx.supplier.example"),
        ("a@other.motor.example", "none", None, None),
    ],
}
TLS = ("--encryption-protocol", "TLSv1.3")
CERTIFICATE = ("--ccert-subject", "mx.supplier.example", "--ccert-issuer", "Example+20TLS+20CA")
# The sender, the client and what it shows, the verdict and its reason, once the example is enforced.
IN: dict[str, list[tuple[str, str, tuple[str, ...], str, str]]] = {
    "ekom21": [
        ("a@kassel.example", "198.51.100.7", (), "accept", "ok"),
        ("a@kassel.example", "203.0.113.66", (), "reject", "address"),
    ],
    "kim": [
        ("praxis@tm.kim.telematik", "203.0.113.66", (), "reject", "address"),
        ("praxis@tm.kim.telematik", "127.0.0.1", (), "accept", "ok"),
    ],
    "bea": [
        ("DE.BRAK.1@bea.example", "203.0.113.66", (), "reject", "address"),
        ("a@elsewhere.example", "203.0.113.66", (), "none", "not-listed"),
    ],
    "hin": [
        ("a@praxis.example", "192.0.2.40", (), "accept", "ok"),
        ("a@praxis.example", "203.0.113.66", (), "reject", "address"),
    ],
    "incamail": [
        ("a@spital.example", "198.51.100.7", TLS, "accept", "ok"),
        ("a@spital.example", "198.51.100.7", (), "reject", "tls"),
        ("a@spital.example", "203.0.113.66", TLS, "reject", "address"),
        ("a@kanton.example", "203.0.113.66", (), "accept", "off"),
    ],
    "de-mail": [
        ("a@amt.demail.example", "192.0.2.50", (), "accept", "ok"),
        ("a@amt.demail.example", "203.0.113.66", (), "reject", "address"),
        ("a@mistyped.demail.example", "203.0.113.66", (), "reject", "address"),
    ],
    "nhs": [
        ("a@surgery.example", "203.0.113.66", (), "accept", "off"),
        ("a@trust.example", "203.0.113.66", TLS, "reject", "address"),
        ("a@trust.example", "198.51.100.30", TLS, "accept", "ok"),
    ],
    "industry": [
        ("a@motor.example", "198.51.100.11", TLS, "accept", "ok"),
        ("a@motor.example", "198.51.100.11", (), "reject", "tls"),
        ("a@bank.motor.example", "203.0.113.66", TLS, "reject", "address"),
        ("a@supplier.example", "203.0.113.30", (*TLS, *CERTIFICATE), "accept", "ok"),
        ("a@supplier.example", "203.0.113.30", TLS, "reject", "certificate"),
        ("a@supplier.example", "203.0.113.66", (*TLS, *CERTIFICATE), "reject", "address"),
    ],
}


def test_where_mail_goes(example: tuple[str, Site]) -> None:
    name, site = example
    for recipient, verdict, transport, policy in OUT[name]:
        found = site.run("explain", "--recipient", recipient, "--json").json
        assert found["verdict"] == verdict, recipient
        if transport is None:
            assert found["transport"] is None, recipient
            continue
        shown = found["transport"]
        assert shown == transport if verdict == "routed" else shown.startswith(transport), (recipient, shown)
        assert set(found["tls_policy"].values()) == ({policy} if policy else set()), recipient
        # Postfix finds the same.
        key = recipient.rpartition("@")[2]
        rows = (key, *(f".{parent}" for parent in suffixes(key)))
        assert next(filter(None, map(site.route, rows))) == shown, recipient


def suffixes(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[n:]) for n in range(1, len(labels))]


def test_who_may_send(example: tuple[str, Site]) -> None:
    name, site = example
    for sender, client, shown, verdict, reason in IN[name]:
        found = site.run("explain", "--sender", sender, "--client-address", client, *shown, "--json").json
        assert (found["verdict"], found["reason"]) == (verdict, reason), (sender, client, shown)


def test_every_example_has_its_rows() -> None:
    assert set(OUT) == set(IN) == set(NETWORKS)


def test_status_warns_of_the_lists_that_nobody_signs(example: tuple[str, Site]) -> None:
    name, site = example
    outcome = site.run("status")
    assert ("nobody signs this list" in outcome.stdout) == (name in ("hin", "incamail", "de-mail", "nhs"))
    assert outcome.status == ('signature = "none"' in re.sub(r"(?m)^#.*", "", text_of(name)))


@pytest.mark.parametrize("column", ["Domains", "domain"])
def test_a_wrong_column_is_named(
    surroundings: Path, signers: Signers, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    """As the page of nhs says: with those that there are."""
    site = Site(surroundings, signers)
    monkeypatch.setattr(site, "write_config", lambda: None)
    monkeypatch.setitem(LISTS, "nhs", NHS.replace(b",Domain,", f",{column},".encode()))
    outcome = put_in_force("nhs", site)
    assert outcome.status == 1
    assert "No generation is in force." in outcome.stdout  # with none of its partners in it, their mail would leave
    assert f"no column 'Domain' (it has: 'Organisation', 'Region', '{column}', 'DMARC')" in outcome.stderr


def test_a_list_that_the_administrator_signs(
    surroundings: Path, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page of hin says: then status has nothing to warn of."""
    site = Site(surroundings, signers)
    monkeypatch.setattr(site, "write_config", lambda: None)
    put_in_force("hin", site)
    (site.folder / "list").write_bytes(signers.net.clearsign(DOMAINS, when=site.now - MINUTE))
    keys = f'key_file = "{site.key_file}"\nsigning_keys = ["{signers.net.fingerprint}"]'
    text = site.config_path.read_text().replace('signature = "none"', keys)
    site.config_path.write_text(text)
    outcome = site.run("sync")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert site.run("status").status == 0
    assert site.route("spital.example") == "closedmail-hin:[192.0.2.40]:25"
