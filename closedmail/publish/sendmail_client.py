"""What Sendmail's SMTP client is set to, as far as its configuration file says it plainly."""

import re
import socket
from pathlib import Path

from closedmail.core.client_settings import ClientSettings

SENDMAIL_CF = Path("/etc/mail/sendmail.cf")
_OPTION = re.compile(r"O\s*(CACertFile|CACertPath|ClientCertFile|ClientKeyFile)\s*=\s*(\S+)\s*")
_NAME = re.compile(r"Dj([A-Za-z0-9.-]+)\s*")
_LEAST_BITS = 128  # as core.access_map asks for


def sendmail_settings(configuration: Path = SENDMAIL_CF) -> ClientSettings:
    """Read sendmail.cf (the options of cf/README, "STARTTLS"). Raises OSError."""
    options: dict[str, str] = {}
    helo = ""
    for line in configuration.read_text(encoding="utf-8", errors="replace").splitlines():
        if found := _OPTION.fullmatch(line):
            options[found[1]] = found[2]
        elif named := _NAME.fullmatch(line):
            helo = named[1]
    certificate = options.get("ClientCertFile", "")
    return ClientSettings(
        helo=helo or socket.getfqdn(),
        mta="Sendmail",
        ca_file=options.get("CACertFile", ""),
        ca_path=options.get("CACertPath", ""),
        chains=((certificate, options.get("ClientKeyFile", certificate)),) if certificate else (),
        grades={"medium": "DEFAULT"},
        least_bits=_LEAST_BITS,
    )
