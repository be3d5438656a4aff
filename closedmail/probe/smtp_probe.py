"""An SMTP session that only looks: greeting, EHLO, STARTTLS, EHLO once more, QUIT. Never MAIL FROM.

Sans-I/O: bytes of the server go in, bytes to send and the next step come out. Sources: RFC 5321 (replies, EHLO, HELO
where EHLO is refused), RFC 3207 (STARTTLS, and that what was known before it counts no more). What stands behind the
answer to STARTTLS in clear text is thrown away, as Postfix does: it would be taken for the protected session's.
"""

import re
from enum import Enum, auto

from closedmail.words import excerpt

MOST_BYTES = 64 * 1024  # of all replies of a session: an honest server needs one or two KiB
_REPLY = re.compile(rb"([2-5][0-9][0-9])([ -]|$)(.*)", re.DOTALL)


class Step(Enum):
    """What the session needs next, once `outgoing` has been sent."""

    READ = auto()
    HANDSHAKE = auto()  # a TLS handshake, then a call of `encrypted` or `failed`
    DONE = auto()


class _Wanted(Enum):
    """The reply that is waited for."""

    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    QUIT = auto()


class SmtpProbe:
    """One session. `error` says what went wrong, `offered` whether STARTTLS was offered, `refused_tls` what the server
    said where it was refused all the same, `in_tls` whether the handshake came to its end.

    `helo` is our own name. With `use_tls` TLS is begun where it is offered; with `wrapped` it comes before all else
    (smtp_tls_wrappermode of postconf(5)).
    """

    def __init__(self, helo: str, *, use_tls: bool, wrapped: bool = False) -> None:
        self.step = Step.HANDSHAKE if wrapped else Step.READ
        self.offered = wrapped
        self.in_tls = False
        self.refused_tls = ""
        self.error: str | None = None
        self._helo = helo
        self._use_tls = use_tls
        self._wrapped = wrapped
        self._wanted = _Wanted.GREETING
        self._outgoing = b""
        self._buffer = b""
        self._lines: list[bytes] = []
        self._received = 0

    def outgoing(self) -> bytes:
        """What is to be sent now; each byte is given out once."""
        data, self._outgoing = self._outgoing, b""
        return data

    def receive(self, data: bytes) -> None:
        """Take what the server has sent; no bytes mean that it has closed the connection."""
        if self.step is not Step.READ:
            return
        if not data:
            self._fail(f"the server closed the connection {self._when()}")
            return
        self._received += len(data)
        if self._received > MOST_BYTES:
            self._fail(f"the server sent more than {MOST_BYTES // 1024} KiB {self._when()}")
            return
        self._buffer += data
        while self.step is Step.READ and b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            self._take_line(line.removesuffix(b"\r"))

    def encrypted(self) -> None:
        """The handshake is done."""
        self.in_tls, self.step = True, Step.READ
        self._buffer = b""  # came in the clear
        if not self._wrapped:
            self._say_hello()

    def failed(self, reason: str) -> None:
        """Something outside of SMTP went wrong: the handshake, the connection, the time."""
        self._fail(reason)

    def _take_line(self, line: bytes) -> None:
        found = _REPLY.fullmatch(line)
        if found is None or (self._lines and found[1] != self._lines[0][:3]):
            self._fail(f"the server sent what is no SMTP reply {self._when()}: {excerpt(line)}")
            return
        self._lines.append(line)
        if found[2] != b"-":
            lines, self._lines = self._lines, []
            self._take_reply(int(found[1]), lines)

    def _take_reply(self, code: int, lines: list[bytes]) -> None:
        good = code // 100 == 2
        wanted = self._wanted
        if wanted is _Wanted.QUIT:
            self.step = Step.DONE
        elif wanted is _Wanted.STARTTLS:
            if code == 220:
                self.step = Step.HANDSHAKE
            else:
                self.refused_tls = f"the server refused STARTTLS: {excerpt(lines[-1])}"
                self._quit()
        elif not good and wanted is _Wanted.EHLO and code // 100 == 5:
            self._send(_Wanted.HELO, f"HELO {self._helo}")
        elif not good:
            self._fail(f"the server answered {self._when()}: {excerpt(lines[-1])}", say_quit=True)
        elif wanted is _Wanted.GREETING:
            self._say_hello()
        elif wanted is _Wanted.EHLO and not self.in_tls:
            self.offered = any(
                line[4:].split()[:1] and line[4:].split()[0].upper() == b"STARTTLS" for line in lines[1:]
            )
            if self.offered and self._use_tls:
                self._send(_Wanted.STARTTLS, "STARTTLS")
            else:
                self._quit()
        else:
            self._quit()

    def _say_hello(self) -> None:
        self._send(_Wanted.EHLO, f"EHLO {self._helo}")

    def _quit(self) -> None:
        self._send(_Wanted.QUIT, "QUIT")

    def _send(self, wanted: _Wanted, command: str) -> None:
        self._wanted = wanted
        self._outgoing += command.encode("ascii", "replace") + b"\r\n"

    def _fail(self, reason: str, *, say_quit: bool = False) -> None:
        if self._wanted is not _Wanted.QUIT:  # all that is to be known is known then
            self.error = self.error or reason
        if say_quit:
            self._quit()
        else:
            self.step = Step.DONE

    @property
    def over(self) -> bool:
        """Whether all that is to be known is known: what comes after QUIT tells nothing."""
        return self.step is Step.DONE or self._wanted is _Wanted.QUIT

    def _when(self) -> str:
        if self._wanted is _Wanted.GREETING:
            return "in place of a greeting"
        if self._wanted is _Wanted.STARTTLS:
            return "after STARTTLS"
        return "after EHLO" if not self.in_tls else "after EHLO inside of TLS"
