"""Read the settings of Sendmail's SMTP client, as far as its configuration file states them plainly."""

import re
import socket
from pathlib import Path

from closedmail.mta.client_settings import ClientSettings
from closedmail.mta.sendmail_cf import DEFAULT_CF, parse_cf

_LEAST_BITS = 128  # as core.access_map demands


def sendmail_settings(configuration: Path = Path(DEFAULT_CF)) -> ClientSettings:
    """Read sendmail.cf (the options of cf/README, "STARTTLS"). Raises OSError."""
    cf = parse_cf(configuration.read_text(encoding="utf-8", errors="replace"))
    name = cf.macros.get("j", "")
    certificate = cf.option("ClientCertFile")
    return ClientSettings(
        # Mostly it is made of macros, which Sendmail itself fills in from the host's name.
        helo=name if re.fullmatch(r"[A-Za-z0-9.-]+", name) else socket.getfqdn(),
        mta="Sendmail",
        ca_file=cf.option("CACertFile"),
        ca_path=cf.option("CACertPath"),
        chains=((certificate, cf.option("ClientKeyFile") or certificate),) if certificate else (),
        grades={"medium": "DEFAULT"},
        least_bits=_LEAST_BITS,
    )
