"""What macros tell: of Sendmail and of Postfix, and what neither tells is unknown."""

import pytest

from closedmail.inbound.facts import ClientCertificate
from closedmail.milter.milter_macros import read_macros

POSTFIX = {"v": "Postfix 3.7.11", "{client_addr}": "192.0.2.1", "{mail_addr}": "u@p.example"}
SENDMAIL = {"v": "8.17.1.9", "{client_addr}": "192.0.2.1", "{mail_addr}": "u@p.example", "f": "<u@p.example>"}
TLS = {"{tls_version}": "TLSv1.3"}
NAMES = {"{cn_subject}": "mx+201.p.example", "{cn_issuer}": "Closed+20Net+20CA", "{cert_subject}": "/CN=x+20y"}
MD5 = {"{cert_md5}": "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99"}
FP = {"{cert_fp}": ":".join(["AB"] * 32)}
MD5_HEX = "aabbccddeeff00112233445566778899"
NONE, UNKNOWN = ClientCertificate(), ClientCertificate(None, None, None, None)
PRINT = "ab" * 32


@pytest.mark.parametrize(
    ("macros", "certificate", "encrypted"),
    [
        # Postfix
        (POSTFIX, NONE, False),
        ({**POSTFIX, **TLS}, ClientCertificate("", "", None, None), True),
        (
            {**POSTFIX, **TLS, "{cert_subject}": "mx+201.köln.example", "{cert_issuer}": "A CA"},
            ClientCertificate("mx+201.köln.example", "A CA", None, None),  # Postfix encodes nothing here
            True,
        ),
        ({**POSTFIX, **TLS, "v": "Mailer 3.7"}, UNKNOWN, True),  # mail_name was changed
        # Sendmail
        (SENDMAIL, NONE, False),
        (
            {**SENDMAIL, **TLS, **NAMES, **FP, "{verify}": "OK"},
            ClientCertificate("mx 1.p.example", "Closed Net CA", PRINT, None),
            True,
        ),
        ({**SENDMAIL, **TLS, **NAMES, **MD5, "{verify}": "FAIL"}, ClientCertificate("", "", MD5_HEX, None), True),
        ({**SENDMAIL, **TLS, **NAMES, **FP, **MD5, "{verify}": "FAIL"}, ClientCertificate("", "", PRINT, None), True),
        (
            {**SENDMAIL, **TLS, **NAMES, "{verify}": "OK"},
            ClientCertificate("mx 1.p.example", "Closed Net CA", None, None),
            True,
        ),
        ({**SENDMAIL, **TLS, **NAMES, "{verify}": "FAIL"}, ClientCertificate("", "", None, None), True),
        ({**SENDMAIL, **TLS, **NAMES, "{verify}": "NO"}, NONE, True),
        ({**SENDMAIL, **TLS, "{verify}": "NOT"}, NONE, True),
        ({**SENDMAIL, "{verify}": "NONE"}, NONE, False),
        ({**SENDMAIL, **TLS, **NAMES, **FP, "{verify}": "TEMP"}, UNKNOWN, True),
        ({**SENDMAIL, **TLS, **NAMES, **FP, "{verify}": "ok"}, UNKNOWN, True),
        ({**SENDMAIL, **TLS, **NAMES, **FP}, UNKNOWN, True),  # without {verify} no name is believed
        # An MTA that gives its default macros only
        ({"{mail_addr}": "u@p.example"}, UNKNOWN, None),
        ({**TLS, "{cert_subject}": "mx.p.example", "{cert_issuer}": "A CA"}, UNKNOWN, True),
        ({**TLS, "v": "Postfix 2.3", "{cert_subject}": "mx.p.example"}, UNKNOWN, True),
        ({}, UNKNOWN, None),
    ],
)
def test_certificate_and_encryption(
    macros: dict[str, str], certificate: ClientCertificate, encrypted: bool | None
) -> None:
    read = read_macros(macros)
    assert (read.certificate, read.encrypted) == (certificate, encrypted)


@pytest.mark.parametrize(
    ("macros", "client", "sasl", "senders"),
    [
        (POSTFIX, "192.0.2.1", "", ("u@p.example",)),
        ({**POSTFIX, "{client_addr}": "IPv6:2001:db8::1"}, "2001:db8::1", "", ("u@p.example",)),
        ({**POSTFIX, "{auth_authen}": "joe"}, "192.0.2.1", "joe", ("u@p.example",)),
        (SENDMAIL, "192.0.2.1", "", ("u@p.example", "<u@p.example>")),
        ({}, "", "", ()),
    ],
)
def test_the_rest(macros: dict[str, str], client: str, sasl: str, senders: tuple[str, ...]) -> None:
    read = read_macros(macros)
    assert (read.client_address, read.sasl_username, read.senders) == (client, sasl, senders)
