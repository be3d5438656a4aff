"""Where files, lists and sockets are: paths, URLs and WHERE."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from closedmail.config.addresses import parse_domain, parse_literal
from closedmail.config.toml_table import Kind
from closedmail.config.values import parse_line
from closedmail.config.wording import quote

# Longest path that fits struct sockaddr_un (unix(7)): 108 bytes with the closing NUL.
MAX_SOCKET_PATH = 107
TEXTFILE_END = ".prom"


def parse_path(text: str) -> str:
    """An absolute path."""
    if not text.startswith("/"):
        raise ValueError(f"found {quote(text)}; write an absolute path, one that begins with /")
    return parse_line(text)


def parse_optional_path(text: str) -> str:
    """An absolute path, or "" for none."""
    return parse_path(text) if text else ""


def parse_textfile(text: str) -> str:
    """An absolute path that node_exporter's textfile collector reads, or "" for none."""
    path = parse_optional_path(text)
    if path and not path.endswith(TEXTFILE_END):
        raise ValueError(f"found {quote(text)}; node_exporter reads only files that end in {TEXTFILE_END}")
    return path


def parse_postfix_path(text: str) -> str:
    """An absolute path that can stand in main.cf, where blanks and commas separate."""
    if re.search(r"[\s,$]", text):
        raise ValueError(f"found {quote(text)}; blanks, commas and $ mean something else in main.cf, rename the folder")
    return parse_path(text)


def parse_location(text: str) -> str:
    """An https:// URL or an absolute path."""
    if text.startswith("/"):
        return parse_path(text)
    scheme, separator, _ = text.partition("://")
    scheme = scheme.lower() if separator else ""
    if scheme in ("http", "ftp"):
        raise ValueError(
            f"found {quote(text)}; {scheme}:// lets anyone on the way hold back the list, write https:// or a path"
        )
    if scheme == "file":
        raise ValueError(f"found {quote(text)}; write the path alone, without file://")
    if scheme != "https":
        raise ValueError(f"found {quote(text)}; write an https:// URL or an absolute path")
    if not text.isascii() or re.search(r"\s", text):
        raise ValueError(f"found {quote(text)}; write A-labels (xn--…) and percent-encoding, a URL is ASCII")
    try:
        parts = urlsplit(parse_line(text))
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"found {quote(text)}; its host or port is not understood, mend it") from None
    if not host or port == 0:
        raise ValueError(f"found {quote(text)}; its host or port is missing, add it")
    if "@" in parts.netloc:
        raise ValueError("the URL holds a user name or password, which would end up in logs; use client_cert instead")
    return text


def parse_optional_location(text: str) -> str:
    """An https:// URL or an absolute path, or "" for none."""
    return parse_location(text) if text else ""


def parse_signature(text: str) -> str:
    """ "inline", "none", or where a detached signature is."""
    if text in ("inline", "none"):
        return text
    if "/" not in text:
        raise ValueError(f'found {quote(text)}; allowed are "inline", "none", an https:// URL or an absolute path')
    return parse_location(text)


@dataclass(frozen=True, slots=True)
class Where:
    """A WHERE taken apart: `path` of a UNIX socket, else `host` (a name, or an address without brackets) and `port`."""

    path: str = ""
    host: str = ""
    port: int = 0


def split_where(text: str) -> Where:
    """Take `inet:HOST:PORT` or `unix:PATH` apart. Port 0 is any free one."""
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
    if host.rpartition(".")[2].isdigit():
        return Where(host=parse_literal(host, text), port=port)
    return Where(host=parse_domain(host), port=port)


def parse_where(text: str) -> str:
    """`inet:HOST:PORT` or `unix:PATH`, checked and kept as it is written."""
    split_where(text)
    return text


def parse_metrics_where(text: str) -> str:
    """`inet:HOST:PORT` for HTTP, or "" for none."""
    if text and split_where(text).path:
        raise ValueError(f'found {quote(text)}; metrics are fetched over TCP, write such as "inet:127.0.0.1:9810"')
    return text


PATH = Kind(parse_path, '"/var/lib/closedmail"')
OPTIONAL_PATH = Kind(parse_optional_path, '"/etc/closedmail/…"')
TEXTFILE = Kind(parse_textfile, '"/var/lib/prometheus/node-exporter/closedmail.prom"')
POSTFIX_PATH = Kind(parse_postfix_path, '"/etc/postfix"')
OPTIONAL_LOCATION = Kind(parse_optional_location, '"https://lists.example/mailertable"')
SIGNATURE = Kind(parse_signature, '"inline"')
WHERE = Kind(parse_where, '"unix:/run/closedmail/policy.sock"')
METRICS_WHERE = Kind(parse_metrics_where, '"inet:127.0.0.1:9810"')
