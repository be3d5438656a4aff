"""The mails of the demo: each one tells something about what passes the gateway and what does not."""

from dataclasses import dataclass
from typing import Literal

from closedmail.demo.demo_network import OWN, RELAY, ROUTE_HOST

STRANGER = "127.0.0.66"
Shown = Literal["", "right", "wrong"]


@dataclass(frozen=True, slots=True)
class TellingMail:
    """One mail: `sender` as it stands in MAIL FROM, the client, the certificate it shows, and whether it passes."""

    about: str
    sender: str
    client: str
    passes: bool
    certificate: Shown = ""
    recipient: str = f"mayor@{OWN}"
    smtputf8: bool = False


MAILS = (
    TellingMail("a partner, through the network's relay", "registry@koeln.example", RELAY, passes=True),
    TellingMail("the same sender, from somewhere else", "registry@koeln.example", STRANGER, passes=False),
    TellingMail("a host below a listed suffix", "scan@printer.bonn.example", STRANGER, passes=False),
    TellingMail("the partner with a certificate of its own", "lab@clinic.example", ROUTE_HOST, True, "right"),
    TellingMail("that partner, with another certificate", "lab@clinic.example", ROUTE_HOST, False, "wrong"),
    TellingMail("that partner, without a certificate", "lab@clinic.example", ROUTE_HOST, passes=False),
    TellingMail("spoofed: the percent hack", "registry%koeln.example", STRANGER, passes=False),
    TellingMail("spoofed: a bang path", "koeln.example!registry", STRANGER, passes=False),
    TellingMail("spoofed: a trailing dot, odd case", "registry@KoeLN.example.", STRANGER, passes=False),
    TellingMail("spoofed: a U-label (SMTPUTF8)", "info@MÜLLER.example", STRANGER, passes=False, smtputf8=True),
    TellingMail("spoofed: to postmaster, without a domain", "x@koeln.example", STRANGER, False, "", "postmaster"),
    TellingMail("a guarded domain that no list has", "x@inside.example", STRANGER, passes=False),
    TellingMail("a held domain (its line has a typo)", "x@typo.example", STRANGER, passes=False),
    TellingMail("a stranger", "someone@elsewhere.example", STRANGER, passes=True),
    TellingMail("a bounce", "", STRANGER, passes=True),
)
