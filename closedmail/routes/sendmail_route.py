"""Spell a route, or a refusal, as a value of Sendmail's mailertable.

Sources: cf/README of Sendmail, "USING MAILERTABLES", cf/m4/proto.m4 (Parse1, Mailertable, MailerToTriple) and what
Sendmail 8.17 was seen to do. A value passes through the rewriting rules, where quotes, parentheses, `<>` and `%0` have
meanings of their own; so nothing is written but the canonical routes of `mailertable/grammar.py`, and texts of letters,
digits and a few signs in quotes.
"""

import re
from typing import assert_never

from closedmail.routes.delivery import Delivery, DeliveryKind

# Bytes. A value and its tokens, each ended by a NUL, have to fit into 1,256 bytes (PSBUFSIZE), or the mail is refused
# for good: "Address too long".
LONGEST_VALUE = 500
_LONGEST_TEXT = 200  # a quoted text is one token, and a token ends at 255 bytes

_UNSAFE = re.compile(r"[^A-Za-z0-9 .,:;=+_/()!?'-]")

# A value without a mailer: the rules go on to the row for `.`, and then as if there had been no row.
SHIELD = "unlisted"


def mailertable_value(delivery: Delivery) -> str | None:
    """Render a delivery as the value of its row, None where it has no row.

    450 at RCPT TO, and mail in the queue waits; 550 refuses, and returns what is in the queue.
    """
    match delivery.kind:
        case DeliveryKind.ROUTED:
            # cf/README, "MAILERS": `relay` is the mailer for hosts that pass mail on, as SMART_HOST uses it. Smart
            # hosts with ports other than 25 never get here (`sendmail_limits.why_refused`).
            return delivery.value or "relay:" + ":".join(map(str, delivery.hosts))
        case DeliveryKind.HELD | DeliveryKind.REFUSED:
            text = _UNSAFE.sub("", delivery.reply)[:_LONGEST_TEXT].strip() or "address refused"
            return f'error:{delivery.dsn}:"{delivery.dsn[0]}50 {text}"'
        case DeliveryKind.OWN:
            return SHIELD
        case DeliveryKind.INBOUND_ONLY:
            return None
        case _:
            assert_never(delivery.kind)
