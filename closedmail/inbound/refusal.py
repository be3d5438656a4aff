"""Write the text of a refusal: the partner's own (`reject_text`) or ours.

The policy service and the milter send it, and so does an access table of Postfix's, which knows neither the domain nor
the client.
"""

from typing import Literal, assert_never

from closedmail.core.rule import Rule
from closedmail.words import smtp_text

Missing = Literal["address", "certificate", "tls"]  # the proof that a mail lacks

_TEXT_LIMIT = 512  # bytes of a reply's text: RFC 5321 section 4.5.3.1.5 ends the whole line there
_NO_ADDRESS = "the client's address is not authorised for it"


def refusal_text(
    rule: Rule,
    missing: Missing,
    generation: int,
    domain: str = "this domain",
    client_address: str = "",
    *,
    in_header: bool = False,
) -> str:
    """Write the text of a refusal: one line, printable, at most 512 bytes.

    `client_address` is "" where it is not known; `in_header` is true if the domain is that of a header.
    """
    if rule.inbound.reject_text:
        text = rule.inbound.reject_text.format(
            domain=domain,
            network=rule.title,
            reason=missing,
            client_address=client_address or "this client",
            generation=generation,
        )
    else:
        where = " in its From: or Sender: header" if in_header else ""
        proof = _lacking(missing, client_address)
        text = f"Mail from {domain}{where} is accepted through {rule.title} only: {proof}"
    text = smtp_text(text)
    if len(text) * 4 <= _TEXT_LIMIT:  # no character has more bytes
        return text
    return text.encode("utf-8", "replace")[:_TEXT_LIMIT].decode("utf-8", "ignore")


def _lacking(missing: Missing, client: str) -> str:
    match missing:
        case "address":
            return f"client address {client} is not authorised for it" if client else _NO_ADDRESS
        case "certificate":
            where = f" at {client}" if client else ""
            return f"the client{where} showed no certificate that is authorised for it"
        case "tls":
            return f"the connection{f' from {client}' if client else ''} is not encrypted"
        case _:
            assert_never(missing)
