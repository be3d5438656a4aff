"""What a milter must answer, whichever MTA asks: one configuration, and one table of mails for Postfix and Sendmail."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from closedmail.demo.demo_certificates import Authority, CertificateFiles, self_signed

RIGHT, WRONG, FORWARDER, TRUSTED = "192.0.2.1", "198.18.0.9", "198.51.100.7", "203.0.113.5"
RIGHT6, WRONG6 = "2001:db8::25", "2001:db8::26"
CLIENTS = (RIGHT, WRONG, FORWARDER, TRUSTED, RIGHT6, WRONG6)
ID = "gw.city.example"

# reject_text, and what the client reads of it.
TEXTS = {
    "fields": ("{domain} {reason} {client_address}", f"fields.MODE.example address {WRONG}"),
    "percent": ("100%s %n %% 5%", "100%s %n %% 5%"),
    "codes": ("2.0.0 250 4.7.0 OK", "2.0.0 250 4.7.0 OK"),
    "words": ('OK; "x" <a@b> \\ {{}}', 'OK; "x" <a@b> \\ {}'),
    "unicode": ("köln: €" * 20, "köln: €" * 20),
    "longest": ("x" * 397 + "END", "x" * 397 + "END"),
}


@dataclass(frozen=True)
class Clients:
    """An authority that the MTA trusts, the server's certificate, and those of clients."""

    authority: Authority
    server: CertificateFiles
    shown: Mapping[str, CertificateFiles]


def make_clients(folder: Path) -> Clients:
    authority, other = Authority(folder / "ca"), Authority(folder / "other", "Another CA")
    shown = {
        "pinned": self_signed(folder / "a", "mx.print.example"),
        "named": authority.issue("mx 1.köln.example"),
        "same name, own authority": self_signed(folder / "c", "mx 1.köln.example"),
        "same name, other authority": other.issue("mx 1.köln.example"),
        "other name": authority.issue("mx.bonn.example"),
        "a name like an encoded one": authority.issue("mx+201.köln.example"),
    }
    return Clients(authority, authority.issue("gateway.city.example"), shown)


def write_gateway(clients: Clients, folder: str, listen: str) -> tuple[str, str]:
    """The configuration for a gateway whose files are in that folder, and its list (to be written to FOLDER/list)."""
    pinned = clients.shown["pinned"]
    proof = 'network = "ndb"\ninbound.require = "cert"\ninbound.certificates = '
    modes = ("enforce", "defer", "report")
    texts = "".join(
        f'[partner."{name}.{mode}.example"]\n'
        f'inbound = {{mode = "{mode}", allow_from = ["{RIGHT}"], reject_text = {json.dumps(text)}}}\n'
        for name, (text, _) in TEXTS.items()
        for mode in modes
    )
    config = f"""
[gateway]
state_dir = "{folder}/state"
own_domains = ["city.example"]
trusted_clients = ["{TRUSTED}"]
[milter]
listen = ["{listen}"]
socket_mode = "0666"
authserv_id = "{ID}"
[network.ndb]
signature = "none"
source = "{folder}/list"
[network.ndb.outbound]
tls = "encrypt"
[network.ndb.inbound]
mode = "enforce"
allow_from = ["{RIGHT}", "{RIGHT6}"]
header_from = "enforce"
header_from_exempt = ["{FORWARDER}"]
[partner."defer.example"]
network = "ndb"
inbound.mode = "defer"
[partner."report.example"]
network = "ndb"
inbound.mode = "report"
[partner."off.example"]
network = "ndb"
inbound.mode = "off"
[partner."envelope.example"]
network = "ndb"
inbound.header_from = "off"
[partner."watched.example"]
network = "ndb"
inbound.header_from = "report"
[partner."tls.example"]
network = "ndb"
inbound.require_tls = true
[partner."print.example"]
{proof}[{{fingerprint = "{pinned.fingerprint}"}}]
[partner."pubkey.example"]
{proof}[{{pubkey_fingerprint = "{pinned.pubkey_fingerprint}"}}]
[partner."named.example"]
{proof}[{{subject = "MX 1.köln.example", issuer = "Closed Net CA"}}]
[partner."issued.example"]
{proof}[{{issuer = "Closed Net CA"}}]
[partner."either.example"]
network = "ndb"
inbound.require = "ip or cert"
inbound.certificates = [{{fingerprint = "{pinned.fingerprint}"}}]
[partner."everyone.example"]
inbound = {{mode = "enforce", allow_from = ["0.0.0.0/0", "::/0"]}}
{texts}
"""
    keys = ("koeln.example", "xn--kln-sna.example", ".land.example")
    return config, "".join(f"{key}\tesmtp:[192.0.2.77]\n" for key in keys)


@dataclass(frozen=True, slots=True)
class Mail:
    """`said` is what the log says of it ("" for nothing): verdict and reason. `sendmail` where it knows more."""

    sender: str
    client: str
    said: str
    shown: str = ""  # the certificate
    tls: bool = False
    fields: str = ""
    sendmail: str | None = None
    marked: str = ""  # the domain that is vouched for


def _mail(sender: str, client: str, said: str, marked: str = "", **more: object) -> Mail:
    return Mail(sender, client, said, marked=marked, **more)  # type: ignore[arg-type]


OK, ADDRESS, CERTIFICATE, UNKNOWN = "accept ok", "reject address", "reject certificate", "none unknown-fact"
P, STRANGER = "u@koeln.example", "u@stranger.example"
TABLE = [
    # Addresses and domains
    _mail(P, RIGHT, OK, "koeln.example"),
    _mail(P, WRONG, ADDRESS),
    _mail(P, FORWARDER, ADDRESS),
    _mail(P, TRUSTED, ""),
    _mail(P, RIGHT6, OK, "koeln.example"),
    _mail(P, WRONG6, ADDRESS),
    _mail("u@everyone.example", WRONG6, OK, "everyone.example"),
    _mail("u@a.b.land.example", WRONG, ADDRESS),
    _mail("u@a.b.land.example", RIGHT, OK, "a.b.land.example"),
    _mail("u@land.example", WRONG, ""),
    _mail("u@below.koeln.example", WRONG, ""),
    _mail(STRANGER, WRONG, ""),
    _mail("u@city.example", WRONG, ""),
    _mail("", WRONG, ""),
    # Modes
    _mail("u@defer.example", WRONG, "defer address"),
    _mail("u@defer.example", RIGHT, OK, "defer.example"),
    _mail("u@report.example", WRONG, "report address"),
    _mail("u@report.example", RIGHT, OK, "report.example"),
    _mail("u@off.example", WRONG, "accept off"),
    _mail("u@off.example", RIGHT, OK, "off.example"),
    # TLS and certificates; of fingerprints Postfix tells a milter nothing
    _mail("u@tls.example", RIGHT, "reject tls"),
    _mail("u@tls.example", RIGHT, OK, "tls.example", tls=True),
    _mail("u@tls.example", WRONG, ADDRESS, tls=True),
    _mail("u@named.example", WRONG, OK, "named.example", shown="named"),
    _mail("u@named.example", WRONG, CERTIFICATE, shown="same name, own authority"),
    _mail("u@named.example", WRONG, CERTIFICATE, shown="same name, other authority"),
    _mail("u@named.example", WRONG, CERTIFICATE, shown="other name"),
    _mail("u@named.example", WRONG, CERTIFICATE, shown="a name like an encoded one"),
    _mail("u@named.example", WRONG, CERTIFICATE, tls=True),
    _mail("u@named.example", RIGHT, CERTIFICATE),
    _mail("u@issued.example", WRONG, OK, "issued.example", shown="other name"),
    _mail("u@issued.example", WRONG, CERTIFICATE, shown="pinned"),
    _mail("u@print.example", WRONG, UNKNOWN, shown="pinned", sendmail=OK),
    _mail("u@print.example", WRONG, UNKNOWN, shown="named", sendmail=CERTIFICATE),
    _mail("u@print.example", WRONG, UNKNOWN, tls=True, sendmail=CERTIFICATE),
    _mail("u@print.example", RIGHT, CERTIFICATE),  # in the clear: there is no certificate
    _mail("u@pubkey.example", WRONG, UNKNOWN, shown="pinned"),
    _mail("u@pubkey.example", WRONG, UNKNOWN, tls=True, sendmail=CERTIFICATE),
    _mail("u@pubkey.example", WRONG, CERTIFICATE),
    _mail("u@either.example", RIGHT, OK, "either.example"),
    _mail("u@either.example", WRONG, ADDRESS),
    _mail("u@either.example", WRONG, UNKNOWN, shown="pinned", sendmail=OK),
    _mail("u@either.example", WRONG, UNKNOWN, shown="named", sendmail=ADDRESS),
    # Spellings of the sender
    *(
        _mail(sender, WRONG, ADDRESS)
        for sender in (
            *("U@KOELN.Example", '"a b"@koeln.example', '"u@stranger.example"@koeln.example', "u%koeln.example"),
            *("koeln.example!u", "u@koeln.example.", "@stranger.example:u@koeln.example", "u@xn--kln-sna.example"),
            *(
                "FROM: <u@koeln.example> SIZE=100",
                "FROM:u@koeln.example BODY=8BITMIME",
                "u%stranger.example@koeln.example",
            ),
        )
    ),
    _mail('"u@koeln.example"@stranger.example', WRONG, ""),
    _mail("koeln.example!u@stranger.example", WRONG, ""),
    # Headers
    *(
        _mail(sender, WRONG, ADDRESS, fields=f"{name}: Office <u@koeln.example>\r\n")
        for sender in ("", STRANGER, "u@city.example", "u@report.example")
        for name in ("From", "Sender")
    ),
    _mail(STRANGER, FORWARDER, "", fields="From: u@koeln.example\r\n"),
    _mail(STRANGER, TRUSTED, "", fields="From: u@koeln.example\r\n"),
    _mail(STRANGER, WRONG, "", fields="From: u@envelope.example\r\n"),
    _mail(STRANGER, WRONG, "defer address", fields="From: u@defer.example\r\n"),
    _mail(STRANGER, WRONG, "report address", fields="From: u@watched.example\r\n"),
    _mail(STRANGER, WRONG, "report address", fields="From: u@report.example\r\n"),
    _mail(STRANGER, WRONG, "accept off", fields="From: u@off.example\r\n"),
    _mail(STRANGER, RIGHT, "reject tls", fields="From: u@tls.example\r\n"),
    _mail("", RIGHT, OK, fields="From: u@koeln.example\r\n"),  # a bounce: no sender was proven
    _mail(P, RIGHT, OK, "koeln.example", fields="From: u@koeln.example\r\nSender: x@stranger.example\r\n"),
    _mail(P, RIGHT, "reject certificate", fields="From: u@named.example\r\n"),
    _mail("u@everyone.example", WRONG, "report address", fields="From: u@watched.example\r\n"),
    _mail(STRANGER, WRONG, UNKNOWN, shown="named", fields="From: u@print.example\r\n", sendmail=CERTIFICATE),
    _mail("u@everyone.example", WRONG, UNKNOWN, shown="named", fields="From: u@pubkey.example\r\n"),
]
CODES = {"reject": 550, "defer": 451, "": 250, "accept": 250, "report": 250, "none": 250}

FORGED = f"""\
Authentication-Results: {ID}; spf=pass smtp.mailfrom=koeln.example
Authentication-Results: {ID}; x-closedmail=pass (ndb) smtp.mailfrom=koeln.example
authentication-results:{ID.upper()} 1;
 x-closedmail=pass
Authentication-Results: mx.example; dkim=pass
AUTHENTICATION-RESULTS : (a) "{ID}" ; x-closedmail = pass
X-Authentication-Results: {ID}; x-closedmail=pass
ARC-Authentication-Results: i=1; {ID}; x-closedmail=pass
Authentication-Results: =?utf-8?q?{ID}=3B_x-closedmail=3Dpass?=
Subject: forged
"""
# What of these is left, in this order.
LEFT = [
    f"Authentication-Results: {ID}; spf=pass smtp.mailfrom=koeln.example",
    "Authentication-Results: mx.example; dkim=pass",
    f"X-Authentication-Results: {ID}; x-closedmail=pass",
    f"ARC-Authentication-Results: i=1; {ID}; x-closedmail=pass",
]


def mark(domain: str, network: str = "ndb") -> str:
    """The line that vouches for a domain."""
    return f"Authentication-Results: {ID}; x-closedmail=pass ({network}) smtp.mailfrom={domain}"


# Mails of one session from WRONG: sender, From:, and the code that decides.
SESSION = [
    (P, "", 550),
    (STRANGER, STRANGER, 250),
    (STRANGER, P, 550),
    ("", STRANGER, 250),
    ("u@defer.example", "", 451),
    ("", P, 550),
    ("u@report.example", STRANGER, 250),
    (STRANGER, "", 250),
]
