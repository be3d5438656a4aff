"""Why mail for a domain is held, and all texts about it: for senders, administrators and exports."""

from enum import IntEnum
from typing import NamedTuple, assert_never


class HoldReason(NamedTuple):
    """The texts for a reason to hold mail.

    `dsn` is the enhanced status code (RFC 3463), `reply` what the sender reads while the mail waits. `exported` is the
    reply in the files that `closedmail export` writes. `brief` is for a table of the report, `explained` advises an
    administrator what to do about it, with `{closedmail}` for the program and its --config.
    """

    dsn: str
    reply: str
    exported: str
    brief: str
    explained: str


class Why(IntEnum):
    """The reason for which a domain is held or kept."""

    NOTHING = 0
    LOST = 1
    UNCLEAR = 2
    TLS = 3
    FOLDED = 4
    ROUTE = 5  # its route can't be expressed for one of the MTAs
    FAMILY = 6  # its route has addresses of the IP version alone by which Postfix does not deliver

    @property
    def reason(self) -> HoldReason:
        """The texts for each reason, kept in this one place.

        RFC 3463: 4.3.2 is "system not accepting network messages", 4.3.5 "system incorrectly configured", 4.4.4
        "unable to route", 4.7.5 "cryptographic failure".
        """
        match self:
            case Why.NOTHING:
                return _reason("4.3.2", "", "held", "held")
            case Why.LOST:
                return _reason(
                    "4.3.2",
                    "it has disappeared from the list of its closed network",
                    "the list lost it",
                    "the list lost it; {closedmail} release ends the hold",
                    exported="the list of its closed network has lost it",
                )
            case Why.UNCLEAR:
                return _reason(
                    "4.3.2",
                    "its line in the closed network's list is not understood",
                    "its line is not understood",
                    "its line in the list is not understood",
                )
            case Why.TLS:
                return _reason(
                    "4.7.5",
                    "its TLS policy can not be met",
                    "its TLS demand can't be met",
                    "its TLS policy can't be met; {closedmail} sync shows what to do",
                )
            case Why.FOLDED:
                return _reason(
                    "4.3.2",
                    "its spelling is also that of another domain",
                    "its spelling is another domain's, too",
                    "for Postfix its spelling is another domain's too",
                )
            case Why.ROUTE:
                return _reason(
                    "4.3.5", "its route is too long", "its route is too long", "its route is too long for Sendmail"
                )
            case Why.FAMILY:
                return _reason(
                    "4.4.4",
                    "its route needs an IP version that this gateway does not use",
                    "its route needs another IP version",
                    "inet_protocols of Postfix rules out each address of its route; {closedmail} sync shows what to do",
                )
            case _:
                assert_never(self)


def _reason(dsn: str, cause: str, brief: str, explained: str, *, exported: str = "") -> HoldReason:
    held = "mail for this domain is held"
    reply = f"{held}: {cause}" if cause else held
    return HoldReason(dsn, reply, f"{held}: {exported}" if exported else reply, brief, explained)
