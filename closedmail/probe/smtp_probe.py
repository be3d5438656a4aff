"""Run an SMTP session that sends no mail: greeting, EHLO, STARTTLS, EHLO once more, QUIT. Never MAIL FROM.

Sans-I/O: bytes of the server go in, bytes to send and the next step come out. Sources: RFC 5321 (replies, EHLO, HELO
where EHLO is refused), RFC 3207 (STARTTLS, and that what was known before it no longer counts). Clear text after the
reply to STARTTLS is thrown away, as Postfix does: it would be taken for the protected session's.
"""

import re
from enum import Enum, auto

from closedmail.words import excerpt

MOST_BYTES = 64 * 1024  # of all replies of a session: an honest server needs one or two KiB
_REPLY = re.compile(rb"([2-5][0-9][0-9])([ -]|$)(.*)", re.DOTALL)


class NextStep(Enum):
    """The next thing that the session needs, once `outgoing` has been sent."""

    READ = auto()
    HANDSHAKE = auto()  # a TLS handshake, then a call of `encrypted` or `failed`
    DONE = auto()


class _Wanted(Enum):
    """The reply that the session waits for."""

    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    STARTTLS = auto()
    QUIT = auto()


class SmtpProbe:
    """One session. `error` is the failure, `offered` whether STARTTLS was offered.

    `refused_tls` is the reply where the server offered and then refused it, `in_tls` whether the handshake is done.

    `helo` is our own name. With `use_tls` TLS is started where it is offered; with `wrapped` it comes before all else
    (smtp_tls_wrappermode of postconf(5)).
    """

    def __init__(self, helo: str, *, use_tls: bool, wrapped: bool = False) -> None:
        self.step = NextStep.HANDSHAKE if wrapped else NextStep.READ
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
        """Return the bytes to send now, each once."""
        data, self._outgoing = self._outgoing, b""
        return data

    def receive(self, data: bytes) -> None:
        """Take bytes of the server; none mean that it has closed the connection."""
        if self.step is not NextStep.READ:
            return
        if not data:
            self._fail(f"the server closed the connection {self._when()}")
            return
        self._received += len(data)
        if self._received > MOST_BYTES:
            self._fail(f"the server sent more than {MOST_BYTES // 1024} KiB {self._when()}")
            return
        self._buffer += data
        while self.step is NextStep.READ and b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            self._take_line(line.removesuffix(b"\r"))

    def encrypted(self) -> None:
        """Continue after the handshake."""
        self.in_tls, self.step = True, NextStep.READ
        self._buffer = b""  # came in the clear
        if not self._wrapped:
            self._say_hello()

    def failed(self, reason: str) -> None:
        """End after a failure outside of SMTP: of the handshake, or of the connection."""
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
            self.step = NextStep.DONE
        elif wanted is _Wanted.STARTTLS:
            if code == 220:
                self.step = NextStep.HANDSHAKE
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
        if self._wanted is not _Wanted.QUIT:  # by then everything is known
            self.error = self.error or reason
        if say_quit:
            self._quit()
        else:
            self.step = NextStep.DONE

    @property
    def over(self) -> bool:
        """Whether everything is known: the reply to QUIT does not matter."""
        return self.step is NextStep.DONE or self._wanted is _Wanted.QUIT

    def _when(self) -> str:
        if self._wanted is _Wanted.GREETING:
            return "in place of a greeting"
        if self._wanted is _Wanted.STARTTLS:
            return "after STARTTLS"
        return "after EHLO" if not self.in_tls else "after EHLO inside of TLS"
