"""Make a certificate authority and certificates from it, with the openssl command.

For a demonstration and for tests: keys are not protected, and are kept in the directory that is given.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from closedmail.programs import run

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate and its key in PEM files, with the two SHA-256 fingerprints in Postfix's form (`AA:BB:…`).

    `certificate` ends with the chain to the authority. `chain` has key and certificates in one file, as
    `smtp_tls_chain_files` wants them.
    """

    certificate: Path
    key: Path
    chain: Path
    fingerprint: str
    pubkey_fingerprint: str

    @property
    def pair(self) -> tuple[Path, Path]:
        """The arguments of Python's `load_cert_chain`."""
        return self.certificate, self.key


class Authority:
    """A CA below a directory. Others have to trust `ca_file`."""

    def __init__(self, directory: Path, common_name: str = "Closed Net CA") -> None:
        self.directory = directory
        self.common_name = common_name
        self.ca_file = directory / "ca.pem"
        self._key = directory / "ca.key"
        directory.mkdir(parents=True, exist_ok=True)
        _openssl(
            *("req", "-x509", "-utf8", *_NEW_KEY, "-days", "30", "-subj", _subject(common_name)),
            *("-keyout", str(self._key), "-out", str(self.ca_file)),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def issue(self, common_name: str, names: Sequence[str] = (), *, days: int = 30) -> CertificateFiles:
        """Make a certificate for a server or a client, with these DNS names and IP addresses as alternative names."""
        return _make(self.directory, common_name, names, days, (self.ca_file, self._key))


def self_signed(directory: Path, common_name: str, names: Sequence[str] = (), *, days: int = 30) -> CertificateFiles:
    """Make a certificate without an authority."""
    directory.mkdir(parents=True, exist_ok=True)
    return _make(directory, common_name, names, days, None)


def fingerprint(certificate: Path) -> str:
    """Compute the SHA-256 fingerprint of the first certificate in a PEM file, in Postfix's form."""
    return _digest(ssl.PEM_cert_to_DER_cert(_first(certificate)))


def pubkey_fingerprint(certificate: Path) -> str:
    """Compute the SHA-256 fingerprint of its public key, in Postfix's form (smtpd_tls_fingerprint_digest)."""
    pem = _openssl("x509", "-in", str(certificate), "-noout", "-pubkey")
    return _digest(_openssl("pkey", "-pubin", "-outform", "DER", stdin=pem))


def _make(
    directory: Path, common_name: str, names: Sequence[str], days: int, authority: tuple[Path, Path] | None
) -> CertificateFiles:
    count = len(list(directory.glob("*.key")))
    stem = directory / f"{count:02d}-{''.join(c if c.isalnum() or c in '.-' else '_' for c in common_name)}"
    key, certificate, chain = (stem.with_name(stem.name + suffix) for suffix in (".key", ".pem", ".chain.pem"))
    issuer = () if authority is None else ("-CA", str(authority[0]), "-CAkey", str(authority[1]))
    extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
    if names:
        extensions.append("subjectAltName=" + ",".join(map(_alternative_name, names)))
    _openssl(
        *("req", "-x509", "-utf8", *_NEW_KEY, "-days", str(days), "-subj", _subject(common_name), *issuer),
        *("-keyout", str(key), "-out", str(certificate)),
        *(argument for extension in extensions for argument in ("-addext", extension)),
    )
    if authority is not None:
        certificate.write_text(certificate.read_text() + authority[0].read_text())
    chain.write_text(key.read_text() + certificate.read_text())
    for secret in (key, chain):
        secret.chmod(0o600)
    return CertificateFiles(certificate, key, chain, fingerprint(certificate), pubkey_fingerprint(certificate))


def _subject(common_name: str) -> str:
    escaped = common_name.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")
    return f"/CN={escaped}"


def _alternative_name(name: str) -> str:
    try:
        return f"IP:{ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _first(certificate: Path) -> str:
    head, mark, _ = certificate.read_text().partition("-----END CERTIFICATE-----")
    return head + mark


def _digest(data: bytes) -> str:
    return sha256(data).digest().hex(":").upper()


def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return run(["openssl", *arguments], time_limit=60, stdin=stdin).stdout
