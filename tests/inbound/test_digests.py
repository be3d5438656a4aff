"""Fingerprints that can never match, because the MTA makes them with another digest."""

from dataclasses import replace

import pytest

from closedmail.core.model import CertificatePin, Inbound
from closedmail.core.rule import Rule
from closedmail.daemon.digest_watch import DigestWatch
from closedmail.inbound.digests import digest_name, incomparable
from closedmail.inbound.facts import ClientCertificate

MD5, SHA1, SHA256 = "0f" * 16, "0f" * 20, "0f" * 32
PINS = (CertificatePin(MD5), CertificatePin(issuer="Closed Net CA"), CertificatePin(SHA256, SHA1))
RULE = Rule("ndb", "Netz", Inbound("enforce", "cert", certificates=PINS), None)


@pytest.mark.parametrize(
    ("digest", "found"),
    [
        ("md5", ["[2].fingerprint is SHA-256", "[2].pubkey_fingerprint is SHA-1"]),
        ("MD5", ["[2].fingerprint is SHA-256", "[2].pubkey_fingerprint is SHA-1"]),
        ("sha256", ["[0].fingerprint is MD5", "[2].pubkey_fingerprint is SHA-1"]),
        ("SHA2-256", []),  # a name that only OpenSSL knows: nothing is said
        ("sha-1", ["[0].fingerprint is MD5", "[2].fingerprint is SHA-256"]),
        ("sha512", ["[0].fingerprint is MD5", "[2].fingerprint is SHA-256", "[2].pubkey_fingerprint is SHA-1"]),
        ("sm3", []),
        ("", []),
    ],
)
def test_incomparable(digest: str, found: list[str]) -> None:
    """Each fingerprint of another length, with its key."""
    sentences = list(incomparable([RULE], digest, "SYNC"))
    assert len(sentences) == len(found)
    for sentence, part in zip(sentences, found, strict=True):
        assert sentence.startswith(f"network.ndb.inbound.certificates{part}, but Postfix makes ")
        assert "smtpd_tls_fingerprint_digest = sha256" in sentence
        assert sentence.endswith("SYNC") == ("is SHA-256" in sentence)


def test_whose() -> None:
    """A partner that takes over its network's certificates is not named; one that is not checked neither."""
    pins = (CertificatePin(SHA256),)
    network = replace(RULE, inbound=replace(RULE.inbound, certificates=pins))
    heir = replace(network, partner="heir.example")
    own = replace(network, partner="own.example", inbound=replace(RULE.inbound, certificates=(CertificatePin(SHA1),)))
    off = replace(own, partner="off.example", inbound=Inbound("off", certificates=(CertificatePin(MD5[:-2] + "00"),)))
    alone = replace(network, network="", partner="alone.example")
    tables = [
        sentence.partition(".inbound")[0] for sentence in incomparable([network, heir, own, off, alone], "md5", "SYNC")
    ]
    assert tables == ["network.ndb", 'partner."own.example"', 'partner."alone.example"']


def test_names() -> None:
    """For people, also a length that no configuration can have."""
    assert [digest_name(length) for length in (32, 64, 10)] == ["MD5", "SHA-256", "5-byte"]


@pytest.mark.parametrize(
    ("pins", "shown", "counted"),
    [
        ([CertificatePin(SHA256)], ClientCertificate(fingerprint=MD5, pubkey_fingerprint=MD5), 1),
        ([CertificatePin(pubkey_fingerprint=SHA256)], ClientCertificate(pubkey_fingerprint=SHA1), 1),
        (
            [CertificatePin(SHA256), CertificatePin(MD5)],
            ClientCertificate(fingerprint=MD5),
            0,
        ),  # rollover of the digest
        ([CertificatePin(SHA256)], ClientCertificate(fingerprint=SHA256), 0),
        ([CertificatePin(subject="mx")], ClientCertificate(fingerprint=MD5), 0),
        ([], ClientCertificate(fingerprint=MD5), 0),
        ([CertificatePin(SHA256)], ClientCertificate(), 0),
        ([CertificatePin(SHA256)], ClientCertificate(fingerprint="a" * 33), 0),  # no digest's: no line for each length
        ([CertificatePin(SHA256)], ClientCertificate(None, None, None, None), 0),
    ],
)
def test_watch(pins: list[CertificatePin], shown: ClientCertificate, counted: int) -> None:
    """Every certificate is counted, and said once for a rule."""
    said: list[str] = []
    watch = DigestWatch(said.append)
    rule = replace(RULE, inbound=replace(RULE.inbound, certificates=tuple(pins)))
    for partner in ("a.example", "a.example", "b.example"):
        watch.note(replace(rule, partner=partner), shown)
    assert (watch.count, len(said)) == (3 * counted, 2 * counted)


def test_what_is_said() -> None:
    """One line that says whose, what, and where to look."""
    said: list[str] = []
    rule = replace(RULE, inbound=replace(RULE.inbound, certificates=(CertificatePin(SHA256, SHA1),)))
    DigestWatch(said.append).note(rule, ClientCertificate(fingerprint=MD5))
    assert said == [
        "warning: network.ndb.inbound.certificates: the MTA sends MD5 fingerprints, those configured are SHA-1 and "
        "SHA-256: none can match; see smtpd_tls_fingerprint_digest\n"
    ]
