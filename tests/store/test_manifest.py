"""Manifests and details: what goes into the policy store comes out of it."""

import json
import zlib
from dataclasses import fields, replace
from ipaddress import ip_network

import pytest

from closedmail.core.hold_reason import Why
from closedmail.core.model import CertificatePin, Inbound, Outbound, Rewriting
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.mailertable.listing import SkippedLine
from closedmail.store.archive import Archived
from closedmail.store.manifest import Details, ListInForce, Manifest

INBOUND = Inbound(
    mode="defer",
    require="ip or cert",
    allow_from=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")),
    allow_route_hosts=True,
    certificates=(CertificatePin("aa" * 32, "bb" * 32, "Köln", 'a "CA"'), CertificatePin(issuer="Closed Net CA")),
    require_tls=True,
    subdomains=True,
    header_from="enforce",
    header_from_exempt=(ip_network("198.51.100.1/32"), ip_network("::/0")),
    reject_text="{domain} gehört nicht hierher\u2028",
)
OUTBOUND = Outbound(
    tls="secure",
    transport="closed",
    smarthost=("[r1.example]:25", "[2001:db8::1]"),
    port=26,
    tls_match=("a.example", ".b.example"),
    tls_protocols=">=TLSv1.2",
    tls_ciphers="high",
    own_service=True,
    families="ipv4",
)
FULL = Manifest(
    generation=7,
    published_at=1_800_000_000,
    reason="sync",
    configuration="c0ffee",
    rules_digest="decaf",
    lists=(
        ListInForce(
            "ndb", "ndb-1", "aa", "bb", "F" * 40, 1_799_999_998, 1_799_999_999, 8123, 1_799_999_999, ("ndb-2",)
        ),
        ListInForce("hin"),
    ),
    rules=(
        Rule("ndb", "Netz des Bundes", INBOUND, OUTBOUND),
        Rule("", "klinik.example", Inbound("off"), None, "klinik.example"),
    ),
    own_domains=("city.example", "xn--kln-sna.example"),
    trusted_clients=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    exempt_sasl=False,
    rewriting=Rewriting(False, False, False, "city.example", True, "nrw.example"),
    closed={"kim.example": 1, "köln.example": 0},
    shared_spellings=("grüsse.example",),
    former={"hin": 1_799_999_000},
    holds_due={"ndb": 1_800_000_001},
    holds_begun=1_700_000_001,
    rows_due=1_800_000_002,
    rows_until=1_800_000_003,
    built_at=1_700_000_002,
    maps={"transport": [1, 2, 3]},
    rules_of=5,
    set_aside="file",
    released={"ndb a.example": "abc"},
    fingerprint_digest="sha256",
)


@pytest.mark.parametrize("value", [FULL, *FULL.rules, INBOUND, OUTBOUND, FULL.rewriting, FULL.lists[0]])
def test_samples_are_complete(value: Manifest | Rule | Inbound | Outbound | Rewriting | ListInForce) -> None:
    """Every field that has a default is set to something else, so that a field that gets lost is seen."""
    if value == FULL.rules[1]:
        return
    for field in fields(value):
        if field.name != "partner":
            assert getattr(value, field.name) != field.default, field.name


@pytest.mark.parametrize("manifest", [FULL, replace(FULL, lists=(), rules=(), trusted_clients=(), closed={})])
def test_manifest(manifest: Manifest) -> None:
    """A manifest is what its JSON says, types included."""
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert repr(again) == repr(manifest)
    assert isinstance(json.loads(manifest.to_json()), dict)


def test_rule_is_ready() -> None:
    """A rule that was asked before it was stored is stored all the same."""
    assert FULL.rules[0].allowed
    assert Manifest.from_json(FULL.to_json()).rules[0].allowed


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b"\xff", FULL.to_json()[:-1], FULL.to_json().replace(b"rules", b"rulez")]
)
def test_no_manifest(data: bytes) -> None:
    """What is none raises what the store expects."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        Manifest.from_json(data)


@pytest.mark.parametrize(
    "details",
    [
        Details(),
        Details(
            ("a.example", "ü"),
            (SkippedLine(12, "\udcff\x00\n", 'a "reason"', bad=True), SkippedLine(3, "", "", bad=False)),
            ("a note",),
        ),
    ],
)
def test_details(details: Details) -> None:
    """Details are what their JSON says."""
    assert Details.from_json(details.to_json()) == details


ARCHIVED = Archived(
    '[gateway]\nown_domains = ["städt.example"]\n',
    FULL.lists,
    {"a.example": Entry(0, "esmtp:[192.0.2.1]", 0, State.HELD, Why.LOST, 1_800_000_000, 1_800_000_001)},
    {"ndb b.example": "abc"},
)


@pytest.mark.parametrize("archived", [ARCHIVED, Archived("", ())])
def test_archived(archived: Archived) -> None:
    """What is kept of a generation is what its bytes say."""
    assert Archived.from_bytes(archived.to_bytes()) == archived


@pytest.mark.parametrize("data", [b"", b"x", zlib.compress(b"{}"), zlib.compress(b"["), ARCHIVED.to_bytes()[:-9]])
def test_nothing_archived(data: bytes) -> None:
    """What is none raises what the store expects."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        Archived.from_bytes(data)
