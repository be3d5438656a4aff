"""What macros tell: of Sendmail and of Postfix, and what neither tells is unknown."""

import pytest

from closedmail.inbound.decision import Certificate
from closedmail.milter.milter_macros import told_by

POSTFIX = {"v": "Postfix 3.7.11", "{client_addr}": "192.0.2.1", "{mail_addr}": "u@p.example"}
SENDMAIL = {"v": "8.17.1.9", "{client_addr}": "192.0.2.1", "{mail_addr}": "u@p.example", "f": "<u@p.example>"}
TLS = {"{tls_version}": "TLSv1.3"}
NAMES = {"{cn_subject}": "mx+201.p.example", "{cn_issuer}": "Closed+20Net+20CA", "{cert_subject}": "/CN=x+20y"}
MD5 = {"{cert_md5}": "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99"}
FP = {"{cert_fp}": ":".join(["AB"] * 32)}
MD5_HEX = "aabbccddeeff00112233445566778899"
NONE, UNKNOWN = Certificate(), Certificate(None, None, None, None)
PRINT = "ab" * 32


@pytest.mark.parametrize(
    ("macros", "certificate", "encrypted"),
    [
        # Postfix
        (POSTFIX, NONE, False),
        ({**POSTFIX, **TLS}, Certificate("", "", None, None), True),
        (
            {**POSTFIX, **TLS, "{cert_subject}": "mx+201.köln.example", "{cert_issuer}": "A CA"},
            Certificate("mx+201.köln.example", "A CA", None, None),  # Postfix encodes nothing here
            True,
        ),
        ({**POSTFIX, **TLS, "v": "Mailer 3.7"}, UNKNOWN, True),  # mail_name was changed
        # Sendmail
        (SENDMAIL, NONE, False),
        (
            {**SENDMAIL, **TLS, **NAMES, **FP, "{verify}": "OK"},
            Certificate("mx 1.p.example", "Closed Net CA", PRINT, None),
            True,
        ),
        ({**SENDMAIL, **TLS, **NAMES, **MD5, "{verify}": "FAIL"}, Certificate("", "", MD5_HEX, None), True),
        ({**SENDMAIL, **TLS, **NAMES, **FP, **MD5, "{verify}": "FAIL"}, Certificate("", "", PRINT, None), True),
        (
            {**SENDMAIL, **TLS, **NAMES, "{verify}": "OK"},
            Certificate("mx 1.p.example", "Closed Net CA", None, None),
            True,
        ),
        ({**SENDMAIL, **TLS, **NAMES, "{verify}": "FAIL"}, Certificate("", "", None, None), True),
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
def test_certificate_and_encryption(macros: dict[str, str], certificate: Certificate, encrypted: bool | None) -> None:
    told = told_by(macros)
    assert (told.certificate, told.encrypted) == (certificate, encrypted)


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
    told = told_by(macros)
    assert (told.client_address, told.sasl_username, told.senders) == (client, sasl, senders)
