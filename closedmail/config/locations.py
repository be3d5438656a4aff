"""Parse the places of files, lists and sockets: paths, URLs and WHERE."""

import re
from urllib.parse import urlsplit

from closedmail.config.toml_table import Kind
from closedmail.core.host import CONTROL, parse_line
from closedmail.core.where import parse_where
from closedmail.words import public_location, quote

TEXTFILE_END = ".prom"


def parse_path(text: str) -> str:
    """Parse an absolute path."""
    if not text.startswith("/"):
        raise ValueError(f"found {quote(public_location(text))}; write an absolute path, one that begins with /")
    return parse_line(text)


def parse_optional_path(text: str) -> str:
    """Parse an absolute path, or "" for none."""
    return parse_path(text) if text else ""


def parse_textfile(text: str) -> str:
    """Parse an absolute path that node_exporter's textfile collector reads, or "" for none."""
    path = parse_optional_path(text)
    if path and not path.endswith(TEXTFILE_END):
        raise ValueError(f"found {quote(text)}; node_exporter reads only files that end in {TEXTFILE_END}")
    return path


def parse_postfix_path(text: str) -> str:
    """Parse an absolute path that is valid in main.cf, where blanks and commas separate values."""
    if re.search(r"[\s,$]", text):
        raise ValueError(f"found {quote(text)}; blanks, commas and $ mean something else in main.cf, rename the folder")
    return parse_path(text)


def parse_location(text: str) -> str:
    """Parse an https:// URL or an absolute path."""
    if text.startswith("/"):
        return parse_path(text)
    found = quote(public_location(text))  # it may hold a secret, and errors go to logs and to monitoring
    if CONTROL.search(text):
        raise ValueError(f"found {found}; control characters and line breaks are not allowed here, remove them")
    scheme, separator, _ = text.partition("://")
    scheme = scheme.lower() if separator else ""
    if scheme in ("http", "ftp"):
        raise ValueError(
            f"found {found}; {scheme}:// lets anyone on the way hold back the list, write https:// or a path"
        )
    if scheme == "file":
        raise ValueError(f"found {found}; write the path alone, without file://")
    if scheme != "https":
        raise ValueError(f"found {found}; write an https:// URL or an absolute path")
    if not text.isascii() or re.search(r"\s", text):
        raise ValueError(f"found {found}; write A-labels (xn--…) and percent-encoding, a URL is ASCII")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"found {found}; its host or port is not understood, fix it") from None
    if not host or port == 0:
        raise ValueError(f"found {found}; its host or port is missing, add it")
    if "@" in parts.netloc:
        raise ValueError("the URL holds a user name or password, which would end up in logs; use client_cert instead")
    return text


def parse_optional_location(text: str) -> str:
    """Parse an https:// URL or an absolute path, or "" for none."""
    return parse_location(text) if text else ""


def parse_signature(text: str) -> str:
    """Parse "inline", "none", or the location of a detached signature."""
    if text in ("inline", "none"):
        return text
    if "/" not in text:
        raise ValueError(
            f'found {quote(public_location(text))}; allowed are "inline", "none", an https:// URL or an absolute path'
        )
    return parse_location(text)


def check_where(text: str) -> str:
    """Check `inet:HOST:PORT` or `unix:PATH`; return it as it is written."""
    parse_where(text)
    return text


def parse_metrics_where(text: str) -> str:
    """Parse `inet:HOST:PORT` for HTTP, or "" for none."""
    if text and parse_where(text).path:
        raise ValueError(f'found {quote(text)}; metrics are fetched over TCP, write such as "inet:127.0.0.1:9810"')
    return text


PATH = Kind(parse_path, '"/var/lib/closedmail"')
OPTIONAL_PATH = Kind(parse_optional_path, '"/etc/closedmail/…"')
TEXTFILE = Kind(parse_textfile, '"/var/lib/prometheus/node-exporter/closedmail.prom"')
POSTFIX_PATH = Kind(parse_postfix_path, '"/etc/postfix"')
OPTIONAL_LOCATION = Kind(parse_optional_location, '"https://lists.example/mailertable"')
SIGNATURE = Kind(parse_signature, '"inline"')
WHERE = Kind(check_where, '"unix:/run/closedmail/policy.sock"')
METRICS_WHERE = Kind(parse_metrics_where, '"inet:127.0.0.1:9810"')
