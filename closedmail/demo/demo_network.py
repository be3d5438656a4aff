"""Make the invented closed network of the demo: partners, signed list, and the gateway's configuration for it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import gnupg

from closedmail.config import parse
from closedmail.core.model import Config
from closedmail.demo.demo_certificates import CertificateFiles
from closedmail.errors import ClosedmailError
from closedmail.programs import run

NAME = "demo"
OWN = "city.example"
RELAY = "127.0.0.10"  # the network's mail relay: the one client that may bring partners' mail
ROUTE_HOST = "127.0.0.20"  # the clinic's own mail server, as it comes here; no list may route to loopback

LIST = """\
# Members of the demo network. Partners are invented, addresses are from the documentation ranges.
koeln.example           esmtp:[192.0.2.11]
bonn.example            esmtp:[192.0.2.12]:[192.0.2.13]
.bonn.example           esmtp:[192.0.2.12]
aachen.example          smtp:mx.aachen.example
müller.example          esmtp:[192.0.2.14]
hospital.example        esmtp:[IPv6:2001:db8::15]
police.example          relay:[192.0.2.16],[192.0.2.17]
court.example           ESMTP:[mail.court.example]
tax.example             smtp8:[192.0.2.18]
clinic.example          esmtp:[192.0.2.19]
school.example          error:4.7.0:450 moving house, back tomorrow
closed-down.example     error:5.1.2:550 this office has been closed down
typo.example            esmtp:[192.0.2.300]
city.example            esmtp:[192.0.2.66]
"""


@dataclass(frozen=True, slots=True)
class DemoNetwork:
    """The network: its configuration as text and parsed, and the fingerprint of its signing key."""

    config: Config
    text: str
    signer: str


def make_network(directory: Path, socket: Path, config_directory: Path, pinned: CertificateFiles) -> DemoNetwork:
    """Make key, signed list and configuration below a directory. Raises ClosedmailError when gpg fails.

    `socket` is the policy service's, `config_directory` Postfix's, `pinned` the certificate of the partner that proves
    itself by one.
    """
    signer = _signed_list(directory)
    path = directory / "closedmail.toml"
    text = f"""\
[gateway]
state_dir = "{directory}/state"
own_domains = ["{OWN}"]

[postfix]
map_dir = "{directory}/maps"
map_type = "lmdb"
config_directory = "{config_directory}"

[policyd]
listen = ["unix:{socket}"]
socket_mode = "0666"                    # for this demo; in earnest: socket_group = "postfix"

[network.{NAME}]
title = "Demo closed network"
source = "{directory}/mailertable.asc"  # in earnest an https:// URL
key_file = "{directory}/network-key.asc"
signing_keys = ["{signer}"]
closed_domains = ["inside.example"]     # must never reach the Internet, listed or not

[network.{NAME}.outbound]
tls = "encrypt"
port = 25

[network.{NAME}.inbound]
mode = "enforce"
allow_from = ["{RELAY}/32"]

[partner."clinic.example"]              # proves itself by its own certificate instead
network = "{NAME}"
inbound = {{ require = "cert", certificates = [{{ pubkey_fingerprint = "{pinned.pubkey_fingerprint}" }}] }}
"""
    path.write_text(text, encoding="utf-8")
    return DemoNetwork(parse(text, str(path)), text, signer)


def _signed_list(directory: Path) -> str:
    home = directory / "gnupg"
    home.mkdir(mode=0o700)
    if shutil.which("gpg") is None:
        raise ClosedmailError("gpg not found: install GnuPG (apt install gnupg)")
    try:
        gpg = gnupg.GPG(gnupghome=str(home))
        key = gpg.gen_key(
            gpg.gen_key_input(
                key_type="EDDSA",
                key_curve="ed25519",
                name_real="Demo closed network",
                name_email="list@network.example",
                expire_date="1y",
                no_protection=True,
            )
        )
        signed = gpg.sign(LIST.encode(), keyid=key.fingerprint, clearsign=True)
        if not key.fingerprint or not signed.data:
            raise ClosedmailError(f"gpg could not make the demo's key and list: {signed.status or key.status}")
        (directory / "mailertable.asc").write_bytes(signed.data)
        (directory / "network-key.asc").write_text(gpg.export_keys(key.fingerprint), encoding="ascii")
    finally:
        # gpg started an agent for this home, which would outlive the demo.
        run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], time_limit=60, accepted=None)
    return str(key.fingerprint)
