"""pymilter's callbacks: libmilter calls them, a `MilterConnection` says what is to be done.

The one module that imports pymilter, and it is imported by the milter's own processes alone. It uses the C module
`milter`, not the package `Milter` around it, which decodes what had better stay bytes.
"""

from collections.abc import Callable
from typing import Any

import milter

from closedmail.milter.authentication_results import FIELD
from closedmail.milter.milter_macros import ASKED
from closedmail.milter.milter_service import MilterConnection, MilterDesk
from closedmail.milter.milter_session import Reply

# Steps that we have no use for; where the MTA can't leave them out, libmilter answers them by itself.
_UNUSED = milter.P_NOBODY | milter.P_NODATA | milter.P_NOUNKNOWN | milter.P_NOEOH
# Steps for whose answer the MTA need not wait.
_UNANSWERED = milter.P_NR_CONN | milter.P_NR_MAIL | milter.P_NR_HDR
_ACTIONS = milter.ADDHDRS | milter.CHGHDRS | milter.SETSYMLIST


class _Door:
    """What a context of libmilter's has: the connection, and how the MTA wants to be answered."""

    __slots__ = ("connection", "protocol")

    def __init__(self, connection: MilterConnection, protocol: int) -> None:
        self.connection, self.protocol = connection, protocol

    def unanswered(self, step: int) -> int:
        """The answer to a step that changes nothing."""
        return int(milter.NOREPLY if self.protocol & step else milter.CONTINUE)


def register(desk: MilterDesk, place: str) -> None:
    """Say what is to be called, and where to listen (in the words of smfi_setconn()). Raises `milter.error`."""

    def negotiate(context: Any, options: list[int]) -> int:
        actions, protocol, _, _ = options
        if actions & milter.SETSYMLIST:
            # With the macros of MAIL, which come after STARTTLS, AUTH and whatever else changes them.
            context.setsymlist(milter.M_ENVFROM, " ".join(ASKED))
            context.setsymlist(milter.M_ENVRCPT, "i")
            context.setsymlist(milter.M_EOM, "i")
            protocol &= _UNUSED | _UNANSWERED | milter.P_NOHELO
        else:
            protocol &= _UNUSED | _UNANSWERED  # macros of TLS come with HELO
        options[:] = [actions & _ACTIONS, protocol, 0, 0]
        context.setpriv(_Door(desk.connection(), protocol))
        return int(milter.CONTINUE)

    def door_of(context: Any) -> _Door:
        door = context.getpriv()
        if not isinstance(door, _Door):  # an MTA that does not negotiate
            door = _Door(desk.connection(), 0)
            context.setpriv(door)
        return door

    def connect(context: Any, _name: str, _family: int, address: Any) -> int:
        door = door_of(context)
        # The address of a UNIX socket is no tuple, and no client's.
        door.connection.connect(str(address[0]) if isinstance(address, tuple) else "")
        return door.unanswered(milter.P_NR_CONN)

    def mail(context: Any, argument: bytes, *_parameters: bytes) -> int:
        door = door_of(context)
        macros = {name: value for name in ASKED if (value := _macro(context, name)) is not None}
        door.connection.mail(argument, macros)
        return door.unanswered(milter.P_NR_MAIL)

    def recipient(context: Any, *_argument: bytes) -> int:
        ending = door_of(context).connection.recipient(_macro(context, "i") or "")
        return _refuse(context, ending.reply) if ending.reply else int(milter.CONTINUE)

    def header(context: Any, name: str, value: bytes) -> int:
        door = door_of(context)
        door.connection.header(name, value)
        return door.unanswered(milter.P_NR_HDR)

    def end(context: Any) -> int:
        connection = door_of(context).connection
        ending = connection.end(_macro(context, "i") or "")
        try:
            if ending.reply:
                return _refuse(context, ending.reply)
            for number in ending.remove:
                context.chgheader(FIELD, number, "")
            if ending.mark:
                context.addheader(FIELD, ending.mark, 0)
            return int(milter.CONTINUE)
        finally:
            connection.done()

    def done(context: Any) -> int:
        door = context.getpriv()
        if isinstance(door, _Door):
            door.connection.done()
        return int(milter.CONTINUE)

    def close(context: Any) -> int:
        done(context)
        context.setpriv(None)
        return int(milter.CONTINUE)

    callbacks: tuple[tuple[Callable[..., None], Callable[..., int]], ...] = (
        (milter.set_connect_callback, connect),
        (milter.set_envfrom_callback, mail),
        (milter.set_envrcpt_callback, recipient),
        (milter.set_header_callback, header),
        (milter.set_eom_callback, end),
        (milter.set_abort_callback, done),
        (milter.set_close_callback, close),
    )
    for setter, callback in callbacks:
        setter(callback)
    milter.set_flags(_ACTIONS)
    milter.set_exception_policy(milter.TEMPFAIL)
    milter.setconn(place)
    milter.register("closedmail", negotiate=negotiate)


def _macro(context: Any, name: str) -> str | None:
    try:
        value: str | None = context.getsymval(name)
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "surrogateescape")
    return value


def _refuse(context: Any, reply: Reply) -> int:
    text = reply.text
    if not text.isascii() and not (_macro(context, "v") or "").startswith("Postfix"):
        # Sendmail sends seven bits of each byte, control characters among them.
        text = text.encode("ascii", "replace").decode("ascii")
    # libmilter wants "%" doubled, and MTAs make one of two again (smfi_setreply()).
    context.setreply(reply.code, reply.status, text.replace("%", "%%"))
    return int(milter.REJECT if reply.code == "550" else milter.TEMPFAIL)
