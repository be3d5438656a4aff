"""Render a verdict as an action of access(5), and as a reply of the policy protocol.

"Not our business" and "passes" are both DUNNO: OK would end all restrictions that come after ours, and permit relaying.
"""

from typing import assert_never

from closedmail.inbound.decision import Outcome, Verdict
from closedmail.policyd.policy_protocol import answer

DUNNO = "DUNNO"
DUNNO_REPLY = answer(DUNNO)
_PASSES: tuple[Outcome, ...] = ("none", "accept")  # most mail: no text is rendered for it


def action_of(verdict: Verdict) -> str:
    """Return the action that Postfix is to take."""
    match verdict.outcome:
        case "none" | "accept":
            return DUNNO
        case "reject":
            return f"REJECT {verdict.dsn} {verdict.text}"
        case "defer":
            return f"DEFER {verdict.dsn} {verdict.text}"
        case "report":
            return f"WARN {verdict.text}"
        case _:
            assert_never(verdict.outcome)


def reply_to(verdict: Verdict) -> bytes:
    """Return the reply to a request, as bytes on the wire."""
    return DUNNO_REPLY if verdict.outcome in _PASSES else answer(action_of(verdict))
