"""Render the milter's replies: a verdict that refuses, as SMTP code, enhanced status code and text."""

from typing import Literal, NamedTuple, assert_never

from closedmail.inbound.decision import Verdict


class MilterReply(NamedTuple):
    """A refusal: `code` and `status` as in RFC 5321 and RFC 3463."""

    code: Literal["550", "451"]
    status: str
    text: str


UNREADABLE = MilterReply("451", "4.7.1", "The policy for this mail can't be read at the moment; try again later")
NO_SENDER = MilterReply("451", "4.7.1", "The domain of this sender can't be read")
NO_HEADER = MilterReply("550", "5.7.1", "The From: and Sender: headers of this mail can't be judged")


def reply_to(verdict: Verdict) -> MilterReply | None:
    """Return the refusal for a verdict, None where the mail passes."""
    match verdict.outcome:
        case "reject":
            return MilterReply("550", verdict.dsn, verdict.text)
        case "defer":
            return MilterReply("451", verdict.dsn, verdict.text)
        case "accept" | "report" | "none":
            return None
        case _:
            assert_never(verdict.outcome)
