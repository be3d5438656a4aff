"""Register pymilter's callbacks: libmilter calls them, a `MilterConnection` decides the response.

The one module that imports pymilter, and it is imported by the milter's own processes alone. It uses the C module
`milter`, not the package `Milter` around it, which decodes what had better stay bytes.
"""

from collections.abc import Callable
from typing import Any

import milter

from closedmail.milter.authentication_results import FIELD
from closedmail.milter.milter_macros import ASKED
from closedmail.milter.milter_reply import MilterReply
from closedmail.milter.milter_service import MilterConnection, MilterService

# Steps that we have no use for; where the MTA can't leave them out, libmilter answers them by itself.
_UNUSED = milter.P_NOBODY | milter.P_NODATA | milter.P_NOUNKNOWN | milter.P_NOEOH
# Steps for whose answer the MTA need not wait.
_UNANSWERED = milter.P_NR_CONN | milter.P_NR_MAIL | milter.P_NR_HDR
_ACTIONS = milter.ADDHDRS | milter.CHGHDRS | milter.SETSYMLIST


class _Private:
    """The private data of a libmilter context (smfi_setpriv()): the connection, and the negotiated protocol."""

    __slots__ = ("connection", "protocol")

    def __init__(self, connection: MilterConnection, protocol: int) -> None:
        self.connection, self.protocol = connection, protocol

    def unanswered(self, step: int) -> int:
        """Return the answer to a step that changes nothing."""
        return int(milter.NOREPLY if self.protocol & step else milter.CONTINUE)


def register(service: MilterService, conn: str) -> None:
    """Register the callbacks and the socket, `conn` as smfi_setconn() takes it. Raises `milter.error`."""

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
        context.setpriv(_Private(service.connection(), protocol))
        return int(milter.CONTINUE)

    def private_of(context: Any) -> _Private:
        private = context.getpriv()
        if not isinstance(private, _Private):  # an MTA that does not negotiate
            private = _Private(service.connection(), 0)
            context.setpriv(private)
        return private

    def connect(context: Any, _name: str, _family: int, address: Any) -> int:
        private = private_of(context)
        # The address of a UNIX socket is no tuple, and no client's.
        private.connection.connect(str(address[0]) if isinstance(address, tuple) else "")
        return private.unanswered(milter.P_NR_CONN)

    def mail(context: Any, argument: bytes, *_parameters: bytes) -> int:
        private = private_of(context)
        macros = {name: value for name in ASKED if (value := _macro(context, name)) is not None}
        private.connection.mail(argument, macros)
        return private.unanswered(milter.P_NR_MAIL)

    def recipient(context: Any, *_argument: bytes) -> int:
        response = private_of(context).connection.recipient(_macro(context, "i") or "")
        return _refuse(context, response.reply) if response.reply else int(milter.CONTINUE)

    def header(context: Any, name: str, value: bytes) -> int:
        private = private_of(context)
        private.connection.header(name, value)
        return private.unanswered(milter.P_NR_HDR)

    def end(context: Any) -> int:
        connection = private_of(context).connection
        response = connection.end(_macro(context, "i") or "")
        try:
            if response.reply:
                return _refuse(context, response.reply)
            for number in response.remove:
                context.chgheader(FIELD, number, "")
            if response.mark:
                context.addheader(FIELD, response.mark, 0)
            return int(milter.CONTINUE)
        finally:
            connection.done()

    def done(context: Any) -> int:
        private = context.getpriv()
        if isinstance(private, _Private):
            private.connection.done()
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
    milter.setconn(conn)
    milter.register("closedmail", negotiate=negotiate)


def _macro(context: Any, name: str) -> str | None:
    try:
        value: str | None = context.getsymval(name)
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "surrogateescape")
    return value


def _refuse(context: Any, reply: MilterReply) -> int:
    text = reply.text
    if not text.isascii() and not (_macro(context, "v") or "").startswith("Postfix"):
        # Sendmail sends seven bits of each byte, control characters among them.
        text = text.encode("ascii", "replace").decode("ascii")
    # libmilter wants "%" doubled, and MTAs make one of two again (smfi_setreply()).
    context.setreply(reply.code, reply.status, text.replace("%", "%%"))
    return int(milter.REJECT if reply.code == "550" else milter.TEMPFAIL)
