"""Certificates as they are read here, beside what the openssl command says of them, and bytes that are none."""

import re
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedmail.demo.demo_certificates import Authority, self_signed
from closedmail.probe.server_certificate import NotACertificate, read_certificate

pytestmark = pytest.mark.real("openssl")

NEW = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


def made(folder: Path, subject: str, *more: str) -> bytes:
    """A certificate by openssl, as DER."""
    path = folder / "made.pem"
    command = ["openssl", "req", "-x509", "-utf8", *NEW, "-keyout", str(folder / "made.key"), "-out", str(path)]
    subprocess.run([*command, "-days", "30", "-subj", subject, *more], check=True, capture_output=True)
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def test_all_fields(folder: Path) -> None:
    authority = Authority(folder / "ca", "Närrische CA / +1")
    certificate = authority.issue(
        "mx.koeln.example", ["mx.koeln.example", "*.koeln.example", "192.0.2.1", "2001:db8::1"]
    )
    first = certificate.certificate.read_text().partition("-----END CERTIFICATE-----")
    read = read_certificate(ssl.PEM_cert_to_DER_cert(first[0] + first[1]))
    assert (read.subject, read.issuer) == ("mx.koeln.example", "Närrische CA / +1")
    assert read.names == ("mx.koeln.example", "*.koeln.example")
    assert read.addresses == ("192.0.2.1", "2001:db8::1")
    assert read.fingerprint("sha256") == certificate.fingerprint
    assert read.pubkey_fingerprint("sha256") == certificate.pubkey_fingerprint
    assert re.fullmatch(r"([0-9A-F]{2}:){15}[0-9A-F]{2}", read.fingerprint("md5"))
    dates = subprocess.run(
        ["openssl", "x509", "-in", str(certificate.certificate), "-noout", "-dates"],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    said = [datetime.strptime(text, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC) for text in re.findall("=(.*)", dates)]
    assert [read.not_before, read.not_after] == [int(moment.timestamp()) for moment in said]


@pytest.mark.parametrize(
    ("subject", "extensions", "names", "issuer"),
    [
        ("/CN=mx.koeln.example", (), ("mx.koeln.example",), "mx.koeln.example"),
        ("/O=City of Cologne", (), (), "City of Cologne"),
        ("/CN=first/CN=second/O=x", (), ("first",), "first"),
        ("/CN=a.example", ("subjectAltName=DNS:b.example",), ("b.example",), "a.example"),
        ("/CN=a.example", ("subjectAltName=IP:192.0.2.1,email:x@y.example",), ("a.example",), "a.example"),
        # A broken DNS name still puts the common name out of force.
        ("/CN=a.example", ("subjectAltName=DER:3007820561002e6200",), (), "a.example"),
        ("/CN=a.example", ("subjectAltName=DER:300b82056101622e638202622e",), ("b.",), "a.example"),
        ("/CN=a.example", ("subjectAltName=DER:30048202620 0".replace(" ", ""),), (), "a.example"),
        ("/CN=a\x01b", (), (), ""),
        ("/CN=<b>\N{RIGHT-TO-LEFT OVERRIDE}", (), ("<b>\N{RIGHT-TO-LEFT OVERRIDE}",), "<b>\N{RIGHT-TO-LEFT OVERRIDE}"),
        ("/", (), (), ""),
    ],
)
def test_names(folder: Path, subject: str, extensions: tuple[str, ...], names: tuple[str, ...], issuer: str) -> None:
    read = read_certificate(made(folder, subject, *(word for item in extensions for word in ("-addext", item))))
    assert (read.names, read.issuer) == (names, issuer)


def test_the_times_of_the_next_century(folder: Path) -> None:
    """From 2050 on times are written in another form."""
    read = read_certificate(made(folder, "/CN=a", "-days", "20000"))
    assert datetime.fromtimestamp(read.not_after, UTC).year > 2080
    assert datetime.fromtimestamp(read.not_before, UTC).year < 2050


def test_years_of_the_last_century(folder: Path) -> None:
    """Two digits from 50 on are of the 20th century (RFC 5280), while Python's begin with 69."""
    der = bytearray(made(folder, "/CN=a"))
    at = der.index(b"\x17\x0d") + 2  # the first UTCTime
    for year, expected in ((b"50", 1950), (b"68", 1968), (b"99", 1999), (b"00", 2000), (b"49", 2049)):
        der[at : at + 2] = year
        assert datetime.fromtimestamp(read_certificate(bytes(der)).not_before, UTC).year == expected


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_bytes_that_are_none(data: bytes) -> None:
    with pytest.raises(NotACertificate):
        read_certificate(data)


@settings(deadline=None)
@given(st.data())
def test_damaged_ones(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """They are read or refused: no other exception, no endless loop."""
    der = bytearray(_sample(tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)) | st.just(len(der)))
    try:
        read = read_certificate(bytes(der[:cut]))
    except NotACertificate:
        return
    assert isinstance(read.names, tuple)


_SAMPLE: list[bytes] = []


def _sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if not _SAMPLE:
        made = self_signed(tmp_path_factory.mktemp("sample"), "mx.koeln.example", ["mx.koeln.example", "192.0.2.1"])
        _SAMPLE.append(ssl.PEM_cert_to_DER_cert(made.certificate.read_text()))
    return _SAMPLE[0]
