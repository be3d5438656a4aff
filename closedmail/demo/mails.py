"""The mails of the demo: each one is an example of what passes the gateway or does not."""

from dataclasses import dataclass
from typing import Literal

from closedmail.demo.demo_network import OWN, RELAY, ROUTE_HOST

STRANGER = "127.0.0.66"
Shown = Literal["", "right", "wrong"]


@dataclass(frozen=True, slots=True)
class DemoMail:
    """One mail: `sender` as in MAIL FROM, the client, the certificate it shows, and whether it passes."""

    about: str
    sender: str
    client: str
    passes: bool
    certificate: Shown = ""
    recipient: str = f"mayor@{OWN}"
    smtputf8: bool = False


MAILS = (
    DemoMail("a partner, through the network's relay", "registry@koeln.example", RELAY, passes=True),
    DemoMail("the same sender, from somewhere else", "registry@koeln.example", STRANGER, passes=False),
    DemoMail("a host below a listed suffix", "scan@printer.bonn.example", STRANGER, passes=False),
    DemoMail("the partner with a certificate of its own", "lab@clinic.example", ROUTE_HOST, True, "right"),
    DemoMail("that partner, with another certificate", "lab@clinic.example", ROUTE_HOST, False, "wrong"),
    DemoMail("that partner, without a certificate", "lab@clinic.example", ROUTE_HOST, passes=False),
    DemoMail("spoofed: the percent hack", "registry%koeln.example", STRANGER, passes=False),
    DemoMail("spoofed: a bang path", "koeln.example!registry", STRANGER, passes=False),
    DemoMail("spoofed: a trailing dot, odd case", "registry@KoeLN.example.", STRANGER, passes=False),
    DemoMail("spoofed: a U-label (SMTPUTF8)", "info@MÜLLER.example", STRANGER, passes=False, smtputf8=True),
    DemoMail("spoofed: to postmaster, without a domain", "x@koeln.example", STRANGER, False, "", "postmaster"),
    DemoMail("a guarded domain that no list has", "x@inside.example", STRANGER, passes=False),
    DemoMail("a held domain (its line has a typo)", "x@typo.example", STRANGER, passes=False),
    DemoMail("a stranger", "someone@elsewhere.example", STRANGER, passes=True),
    DemoMail("a bounce", "", STRANGER, passes=True),
)
