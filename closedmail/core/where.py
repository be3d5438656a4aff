"""Parse and spell socket addresses in their three forms: ours (WHERE), libmilter's, and Postfix's endpoints."""

import re
from dataclasses import dataclass

from closedmail.core.host import looks_like_address, parse_domain, parse_line, parse_literal
from closedmail.words import quote

# Longest path that fits struct sockaddr_un (unix(7)): 108 bytes with the closing NUL.
MAX_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True)
class Where:
    """A socket: `path` of a UNIX one, else `host` (a name, or an address without brackets) and `port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Spell it as WHERE."""
        if self.path:
            return f"unix:{self.path}"
        return f"inet:{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def libmilter(self) -> str:
        """Spell it as libmilter and Sendmail do (smfi_setconn, cf/README on MAIL_FILTER)."""
        if self.path:
            return f"unix:{self.path}"
        return f"{'inet6' if ':' in self.host else 'inet'}:{self.port}@{self.host}"


def parse_where(text: str) -> Where:
    """Parse `inet:HOST:PORT` or `unix:PATH`. Port 0 is any free one. Raises ValueError."""
    kind, _, rest = text.partition(":")
    if kind == "unix":
        if not rest.startswith("/") or rest.endswith("/"):
            raise ValueError(f'found {quote(text)}; write an absolute path, such as "unix:/run/closedmail/policy.sock"')
        size = len(parse_line(rest).encode())
        if size > MAX_SOCKET_PATH:
            raise ValueError(
                f"the path of the socket has {size} bytes; the system allows {MAX_SOCKET_PATH}, choose a shorter one"
            )
        return Where(path=rest)
    if kind != "inet":
        raise ValueError(f'found {quote(text)}; write "inet:HOST:PORT" or "unix:/PATH"')
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*):([0-9]{1,5})", rest)
    if not found:
        raise ValueError(
            f'found {quote(text)}; write "inet:HOST:PORT" with an IPv6 address in brackets, such as "inet:[::1]:10025"'
        )
    host, port = found[1], int(found[2])
    if port > 65535:
        raise ValueError(f"found {quote(text)}; ports are 1 to 65535, or 0 for any free one")
    if not host:
        raise ValueError(f'found {quote(text)}; the host is missing, write "127.0.0.1", or "0.0.0.0" for all')
    if host.startswith("["):
        return Where(host=parse_literal(host[1:-1], text), port=port)
    if looks_like_address(host):
        return Where(host=parse_literal(host, text), port=port)
    return Where(host=parse_domain(host), port=port)


def socket_path(where: str) -> str:
    """Return the path of a WHERE that is a UNIX socket, "" of any other; it may be one that `parse_where` refuses."""
    kind, _, path = where.partition(":")
    return path if kind == "unix" else ""


def parse_libmilter(text: str) -> str:
    """Parse a milter's socket as in Sendmail's X lines; return its WHERE, "" where none is known.

    `local:PATH`, `unix:PATH` and a mere path are one, as are `inet:PORT@HOST` and `inet6:PORT@HOST`. The port may be a
    name from /etc/services, and the host unknown to DNS: the result may be a WHERE that `parse_where` refuses.
    """
    kind, colon, rest = text.partition(":")
    if not colon:
        return f"unix:{text}" if text.startswith("/") else ""
    if kind.lower() in ("local", "unix"):
        return f"unix:{rest}" if rest.startswith("/") else ""
    if kind.lower() in ("inet", "inet6"):
        port, _, host = rest.partition("@")
        host = host.strip("[]") or "localhost"
        return f"inet:{f'[{host}]' if ':' in host else host}:{port}"
    return ""


def parse_endpoint(text: str, queue_directory: str, *, chrooted: bool) -> str:
    """Parse an endpoint of Postfix's client side, as in check_policy_service; return its WHERE.

    Source: SMTPD_POLICY_README: `inet:HOST:PORT` and `unix:PATH`, whose path begins at the queue directory, and for a
    chrooted service an absolute path does, too; `local:` is an old name of `unix:` (Postfix's connect.c).
    """
    kind, _, path = text.partition(":")
    if kind not in ("unix", "local"):
        return text
    if path.startswith("/"):
        return f"unix:{queue_directory}{path}" if chrooted else f"unix:{path}"
    return f"unix:{queue_directory}/{path}"


def split_service(name: str) -> tuple[str, str]:
    """Parse the name of an inet service in master.cf, `[HOST:]PORT` (master(5)), into host and port as written.

    The host is "" if absent; an IPv6 address loses its brackets.
    """
    host, _, port = name.rpartition(":")
    return host.strip("[]"), port
