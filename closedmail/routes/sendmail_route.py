"""How Sendmail's mailertable spells a route, or a refusal.

Sources: cf/README of Sendmail, "USING MAILERTABLES", and cf/m4/proto.m4. A value passes through the rewriting rules,
where quotes, parentheses, `<>` and `%0` have meanings of their own; so nothing is written but the canonical routes of
`mailertable/grammar.py`, and texts of letters, digits and a few signs in quotes.
"""

import re

from closedmail.core.model import Outbound
from closedmail.mailertable.grammar import parse_value
from closedmail.mailertable.listing import SMARTHOST
from closedmail.routes.nexthop import target

# Bytes. A value and its tokens, each ended by a NUL, have to fit into 1,256 bytes (PSBUFSIZE), or the mail is refused
# for good: "Address too long".
LONGEST_VALUE = 500
_LONGEST_TEXT = 200  # a quoted text is one token, and a token ends at 255 bytes

_REFUSAL = re.compile(r"(error|retry):([45]\.\d+\.\d+) (.*)")
_UNSAFE = re.compile(r"[^A-Za-z0-9 .,:;=+_/()!?'-]")
_PORT = re.compile(r"(\[[^]]*\]|[^:\[\]]+):25")


def route(value: str, outbound: Outbound | None) -> str:
    """What a canonical value that is a route becomes: itself, or the smart hosts in their order."""
    if outbound is None or not (outbound.smarthost or value == SMARTHOST):
        return value
    # cf/README, "MAILERS": `relay` is the mailer for hosts that pass mail on, as SMART_HOST uses it.
    return "relay:" + ":".join(_spell(nexthop) for nexthop in target(value, outbound).nexthops)


def refusal(transport: str) -> str | None:
    """What Postfix's `error:` and `retry:` become, None for all else.

    450 at RCPT TO, and mail in the queue waits; 550 refuses, and returns what is in the queue.
    """
    found = _REFUSAL.fullmatch(transport)
    if not found:
        return None
    text = _UNSAFE.sub("", found[3])[:_LONGEST_TEXT].strip() or "address refused"
    return f'error:{found[2]}:"{"450" if found[2].startswith("4") else "550"} {text}"'


def _spell(nexthop: str) -> str:
    """A smart host as a mailertable writes it; ports other than 25 never get here (`sendmail_limits.why_refused`)."""
    found = _PORT.fullmatch(nexthop)
    return str(parse_value("relay:" + (found[1] if found else nexthop))).removeprefix("relay:")
