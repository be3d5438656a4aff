"""What a TLS policy demands of a server, and when a server gives it; test_probe.py asks Postfix the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedmail.mta.client_settings import ClientSettings
from closedmail.probe.server_certificate import ServerCertificate
from closedmail.probe.server_check import Demand, Seen, demand_of, matches, why_not
from closedmail.routes.tls_policy import Policy
from closedmail.routes.tls_protocols import BadProtocols, allowed_versions, cipher_list

POSTFIX = ClientSettings("city.example")
SENDMAIL = ClientSettings("city.example", mta="Sendmail", least_bits=128)
CERTIFICATE = ServerCertificate("cn.example", "Closed Net CA", ("mx.koeln.example",), (), 0, 1, b"der", b"key")
DER = CERTIFICATE.fingerprint("sha256")
KEY = CERTIFICATE.pubkey_fingerprint("sha256")
NOTHING = Seen(offered=False, encrypted=False)
BROKEN = Seen(offered=True, encrypted=False, tls_error="no handshake")
ENCRYPTED = Seen(offered=True, encrypted=True, certificate=CERTIFICATE, bits=256)
STRANGER = Seen(offered=True, encrypted=True, certificate=CERTIFICATE, trust_error="self-signed certificate", bits=256)
ANONYMOUS = Seen(offered=True, encrypted=True, bits=256)


def judge(policy: str, seen: Seen, settings: ClientSettings = POSTFIX) -> bool:
    return why_not(demand_of(Policy.parse(policy), settings, "koeln.example", "mx.koeln.example"), seen) is None


@pytest.mark.parametrize(
    ("policy", "passing"),
    [
        ("none", [NOTHING, BROKEN, STRANGER, ENCRYPTED, ANONYMOUS]),
        ("may", [NOTHING, BROKEN, STRANGER, ENCRYPTED, ANONYMOUS]),
        ("encrypt", [STRANGER, ENCRYPTED, ANONYMOUS]),
        (f"fingerprint match={DER}", [STRANGER, ENCRYPTED]),
        (f"fingerprint match=AA:BB|{KEY.lower()}", [STRANGER, ENCRYPTED]),
        (f"fingerprint match={KEY.replace(':', '')}", [STRANGER, ENCRYPTED]),
        ("fingerprint match=AA:BB", []),
        ("fingerprint", []),
        ("verify", [ENCRYPTED]),
        ("secure", [ENCRYPTED]),
        ("verify match=nexthop", []),
        ("secure match=.koeln.example", [ENCRYPTED]),
        ("secure match=other.example:dot-nexthop", [ENCRYPTED]),
        ("secure match=other.example", []),
        ("dane", []),
        ("dane-only", []),
    ],
)
def test_postfix_levels(policy: str, passing: list[Seen]) -> None:
    for seen in (NOTHING, BROKEN, STRANGER, ENCRYPTED, ANONYMOUS):
        assert judge(policy, seen) is (seen in passing), seen


@pytest.mark.parametrize(
    ("policy", "passing"),
    [
        ("may", [NOTHING, STRANGER, ENCRYPTED, ANONYMOUS]),  # Sendmail has no second try in the clear
        ("encrypt", [STRANGER, ENCRYPTED, ANONYMOUS]),
        ("verify CN:CN.example", [ENCRYPTED]),
        ("verify CN:mx.koeln.example", []),  # names of the subjectAltName don't count there
        ("verify CN", []),
    ],
)
def test_sendmail_levels(policy: str, passing: list[Seen]) -> None:
    for seen in (NOTHING, BROKEN, STRANGER, ENCRYPTED, ANONYMOUS):
        assert judge(policy, seen, SENDMAIL) is (seen in passing), seen
    weak = Seen(offered=True, encrypted=True, certificate=CERTIFICATE, bits=112)
    assert judge(policy, weak, SENDMAIL) is (policy == "may")


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("mx.koeln.example", "MX.koeln.example", True),
        ("mx.koeln.example", "hostname", True),
        ("koeln.example", "nexthop", True),
        ("mx.koeln.example", "nexthop", False),
        ("mx.koeln.example", "dot-nexthop", True),
        ("koeln.example", "dot-nexthop", False),
        ("mx.koeln.example", ".koeln.example", True),
        ("a.mx.koeln.example", ".koeln.example", True),
        ("koeln.example", ".koeln.example", False),
        ("xkoeln.example", ".koeln.example", False),
        (".koeln.example", ".koeln.example", False),
        ("*.koeln.example", "mx.koeln.example", True),
        ("*.koeln.example", "a.mx.koeln.example", False),
        ("*.koeln.example", "koeln.example", False),
        ("*.koeln.example", ".koeln.example", True),
        ("*.", "a.", False),
        ("*.example", "koeln.example", True),
        ("m*.koeln.example", "mx.koeln.example", False),
        ("mx.koeln.example", "*.koeln.example", False),
        ("xn--kln-sna.example", "köln.example", True),
        ("köln.example", "xn--kln-sna.example", True),
        ("", "", False),
        ("mx", ".", False),
    ],
)
def test_names(name: str, pattern: str, expected: bool) -> None:
    assert matches(name, pattern, Demand("secure", "koeln.example", "mx.koeln.example")) is expected


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_names(name: str, pattern: str) -> None:
    demand = Demand("secure", "koeln.example", "mx.koeln.example")
    if matches(name, pattern, demand):
        assert name


ALL = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ALL),
        (">=TLSv1", ALL),
        ("!SSLv2, !SSLv3", ALL),
        ("!SSLv2:!SSLv3:!TLSv1 !TLSv1.1", {"TLSv1.2", "TLSv1.3"}),
        (">=TLSv1.2", {"TLSv1.2", "TLSv1.3"}),
        (">=0303", {"TLSv1.2", "TLSv1.3"}),
        ("<=TLSv1.2, >=TLSv1.1", {"TLSv1.1", "TLSv1.2"}),
        ("TLSv1.2", {"TLSv1.2"}),
        ("TLSv1.2 TLSv1.3 !TLSv1.3", {"TLSv1.2"}),
        ("SSLv3", set()),
        ("<=SSLv3", set()),
        (">=SSLv3", ALL),
        ("tlsv1.3", {"TLSv1.3"}),
    ],
)
def test_protocols(text: str, expected: set[str]) -> None:
    assert allowed_versions(text) == expected


@pytest.mark.parametrize("text", ["TLSv9", ">TLSv1.2", "!", ">=", "=TLSv1.2"])
def test_protocols_that_are_none(text: str) -> None:
    with pytest.raises(BadProtocols):
        allowed_versions(text)


def test_ciphers() -> None:
    assert cipher_list("High", {"high": "HIGH"}, "RC4, MD5") == "HIGH:!RC4:!MD5:!aNULL"
    with pytest.raises(BadProtocols, match="unknown cipher grade 'best'"):
        cipher_list("best", {"high": "HIGH"}, "")
