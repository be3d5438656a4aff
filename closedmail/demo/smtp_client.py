"""Send test mails by SMTP: with odd spellings, chosen client addresses, client certificates.

The client sends its arguments verbatim, and returns the deciding reply: the first refusal, or the reply to the message.
Built on smtplib, which insists on ASCII and on tidy addresses; `_Client` sends any.
"""

import smtplib
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Stage = Literal["connect", "helo", "starttls", "xclient", "mail", "rcpt", "data", "message"]

DEFAULT_MESSAGE = b"Subject: closedmail\r\n\r\nA test.\r\n"


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """The deciding reply, and to which command. Code 0: no reply came, for the reason in `text`."""

    stage: Stage
    code: int
    text: str

    @property
    def accepted(self) -> bool:
        """Whether the server has accepted the mail."""
        return self.stage == "message" and 200 <= self.code < 300


def deliver(
    host: str,
    port: int,
    *,
    sender: str,
    recipients: Sequence[str],
    source_address: str = "",
    helo: str = "client.example",
    tls: bool = False,
    certificate: tuple[Path, Path] | None = None,
    smtputf8: bool = False,
    xclient: Mapping[str, str] | None = None,
    data: bytes = DEFAULT_MESSAGE,
    timeout: float = 30.0,
) -> SmtpReply:
    """Send one mail and return the first refusal, or the reply to the message.

    `sender` and `recipients` go between the angle brackets as they are; one that begins with `FROM:` or `TO:` is the
    whole argument of its command (`FROM: u@p.example`, without brackets). `certificate` is a certificate file and its
    key file, presented in STARTTLS; the server's own certificate is not checked. `xclient` are attributes of Postfix's
    XCLIENT command (`{"ADDR": "192.0.2.1"}`), sent after STARTTLS; IPv6 addresses get their `IPV6:` here.
    """
    stage: Stage = "connect"
    client = _Client(local_hostname=helo, timeout=timeout, source_address=(source_address, 0))
    # For the TLS handshake; smtplib sets it only where its constructor connects.
    client._host = host  # type: ignore[attr-defined]
    try:
        code, text = client.connect(host, port)
        if code != 220:
            return _reply(stage, code, text)
        stage = "helo"
        code, text = client.ehlo()
        if code == 250 and (tls or certificate is not None):
            stage = "starttls"
            if not client.has_extn("starttls"):
                return SmtpReply(stage, 0, "the server offers no STARTTLS")
            code, text = client.starttls(context=_tls_context(certificate))
            if code == 220:
                stage = "helo"
                code, text = client.ehlo()
        if code == 250 and xclient:
            stage = "xclient"
            code, text = client.docmd("XCLIENT", " ".join(f"{k}={_xclient_value(k, v)}" for k, v in xclient.items()))
            if code == 220:
                # The session starts again, as that client's.
                stage = "helo"
                code, text = client.ehlo()
        if code != 250:
            return _reply(stage, code, text)
        stage = "mail"
        code, text = client.docmd("MAIL", _argument("FROM:", sender) + (" SMTPUTF8" if smtputf8 else ""))
        if code != 250:
            return _reply(stage, code, text)
        stage = "rcpt"
        for recipient in recipients:
            code, text = client.docmd("RCPT", _argument("TO:", recipient))
            if code not in (250, 251):
                return _reply(stage, code, text)
        stage = "data"
        code, text = client.docmd("DATA")
        if code != 354:
            return _reply(stage, code, text)
        stage = "message"
        client.send(_dotted(data))
        return _reply(stage, *client.getreply())
    except smtplib.SMTPServerDisconnected as error:
        return SmtpReply(stage, 0, f"the server closed the connection: {error}")
    except OSError as error:
        return SmtpReply(stage, 0, str(error) or type(error).__name__)
    finally:
        _leave(client)


class _Client(smtplib.SMTP):
    def send(self, s: object) -> None:
        # smtplib encodes as ASCII and fails on the rest; surrogates carry bytes that are not UTF-8.
        super().send(s.encode("utf-8", "surrogateescape") if isinstance(s, str) else s)  # type: ignore[arg-type]


def _argument(keyword: str, address: str) -> str:
    return address if address.upper().startswith(keyword) else f"{keyword}<{address}>"


def _xclient_value(name: str, value: str) -> str:
    if name.upper() in ("ADDR", "DESTADDR") and ":" in value and not value.upper().startswith("IPV6:"):
        value = f"IPV6:{value}"
    # xtext (RFC 3461, section 4)
    return "".join(
        chr(byte) if 33 <= byte <= 126 and byte not in b"+=" else f"+{byte:02X}" for byte in value.encode("utf-8")
    )


def _tls_context(certificate: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def _dotted(data: bytes) -> bytes:
    lines = data.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + b"\r\n.\r\n"


def _reply(stage: Stage, code: int, text: bytes) -> SmtpReply:
    return SmtpReply(stage, code, text.decode("utf-8", "replace"))


def _leave(client: smtplib.SMTP) -> None:
    """Send QUIT without waiting for long: the result is known, and a server may not answer any more."""
    try:
        if isinstance(client.sock, socket.socket):
            client.sock.settimeout(2)
            client.docmd("QUIT")
    except (OSError, smtplib.SMTPException):
        pass
    finally:
        client.close()
