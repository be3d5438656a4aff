"""Read a list from an https:// URL: certificates, conditional requests, redirects, proxies, and every failure."""

import base64
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from closedmail import __version__
from closedmail.lists.answer_meter import AnswerMeter, MeteredConnection
from closedmail.lists.transfer import (
    Copier,
    Deadline,
    ListSource,
    RetryError,
    Validators,
    fetch_failed,
)
from closedmail.words import excerpt, public_location

_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# No single wait on the network is longer than this.
_SOCKET_TIMEOUT = 30.0


def tls_context(ca_file: str, client_cert: str = "", client_key: str = "") -> ssl.SSLContext:
    def no_password() -> str:
        raise ValueError("it is protected by a password")

    what = ca_file
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if ca_file:
            # On by default from Python 3.13: it refuses CAs without keyUsage, as in-house ones are, which curl takes.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if client_cert:
            what = client_cert if not client_key else f"{client_cert} with {client_key}"
            context.load_cert_chain(client_cert, client_key or None, password=no_password)
    except (OSError, ValueError) as error:
        # OpenSSL's own number and text for a file that is no PEM are less clear than this.
        why = "not a usable PEM file" if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None) or error
        raise fetch_failed(f"{what}: {excerpt(str(why))}; fix ca_file, client_cert or client_key") from None
    return context


class _Connection(http.client.HTTPSConnection):
    """An HTTPS connection whose socket the deadline knows from its first moment, before TLS and proxy.

    The meter counts all answers on it, the proxy's included.
    """

    def __init__(self, *args: Any, deadline: Deadline, meter: AnswerMeter, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline, self._meter = deadline, meter
        self._create_connection = self._watched
        answer: Any = self._answer  # http.client calls the class, and nothing else
        self.response_class = answer

    def _answer(self, connection: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        metered: Any = MeteredConnection(connection, self._meter)
        return http.client.HTTPResponse(metered, *args, **kwargs)

    def _watched(self, *args: Any, **kwargs: Any) -> socket.socket:
        connection = socket.create_connection(*args, **kwargs)
        self._deadline.watch(connection)
        return connection


class _Handler(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext, deadline: Deadline, meter: AnswerMeter) -> None:
        super().__init__(context=context)
        self._tls = context
        self._connect = partial(_Connection, deadline=deadline, meter=meter)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connect, request, context=self._tls)


class UrlSource(ListSource):
    """An https:// URL. `own` is TLS with the client certificate, for its host and port; `elsewhere` is TLS without.

    The server chooses the target of a redirect, and a certificate tells a third party who we are. Another port of the
    same host may be another service.
    """

    def __init__(self, url: str, own: ssl.SSLContext, elsewhere: ssl.SSLContext, ca_file: str = "") -> None:
        self._url = url
        self._ca_file = ca_file
        self._own, self._elsewhere = own, elsewhere
        self.shown = public_location(url)

    def read(self, part: Path, previous: Validators, copier: Copier, deadline: Deadline) -> Validators | None:
        meter = AnswerMeter(self.shown)
        url, origin = self._url, _origin(self._url, self.shown)
        for _ in range(_MOST_REDIRECTS + 1):
            is_own = _origin(url, self.shown) == origin
            request = self._request(url, previous, with_password=is_own)
            opener = _opener(self._own if is_own else self._elsewhere, deadline, meter)
            answer = self._open(opener, request, deadline)
            with answer:
                if answer.status not in _REDIRECTS:
                    return self._take(answer, meter, part, previous, copier, deadline)
                url = self._redirected(url, answer.headers.get("Location") or "")
        raise fetch_failed(f"{self.shown}: redirected more than {_MOST_REDIRECTS} times; check source")

    def _redirected(self, url: str, target: str) -> str:
        following, parts = target, SplitResult("", "", "", "", "")
        try:
            following = urljoin(url, target)
            parts = urlsplit(following)
        except ValueError:
            pass
        if parts.scheme != "https" or not parts.netloc or "@" in parts.netloc or not target:
            where = public_location(following) if target else "nowhere"
            raise fetch_failed(f"{self.shown}: redirected to {where}, only https is followed; check source")
        # A request line must not have control characters, blanks or anything but ASCII.
        return quote(following, safe="%/:=&?~#+!$,;'@()*[]")

    def _request(self, url: str, previous: Validators, *, with_password: bool) -> urllib.request.Request:
        try:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
            request = urllib.request.Request(parts._replace(netloc=host, fragment="").geturl())  # noqa: S310  https only
        except ValueError:
            raise fetch_failed(f"{self.shown}: not a URL; fix source") from None
        request.add_header("User-Agent", f"closedmail/{__version__}")
        request.add_header("Accept-Encoding", "identity")
        own = urlsplit(self._url)
        if own.username is not None and with_password:
            pair = f"{unquote(own.username)}:{unquote(own.password or '')}".encode()
            request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
        if previous.etag:
            request.add_header("If-None-Match", previous.etag)
        if previous.last_modified:
            request.add_header("If-Modified-Since", previous.last_modified)
        return request

    def _open(
        self, opener: urllib.request.OpenerDirector, request: urllib.request.Request, deadline: Deadline
    ) -> http.client.HTTPResponse:
        # A second more than is left: the deadline itself shall end the wait, and say so.
        timeout = min(_SOCKET_TIMEOUT, deadline.remaining() + 1)
        try:
            answer: http.client.HTTPResponse | None = opener.open(request, timeout=timeout)
        except urllib.error.URLError as error:
            raise self._trouble(error.reason) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._trouble(error) from None
        if answer is None:
            raise fetch_failed(f"{self.shown}: can't be fetched over the proxy that https_proxy names; check it")
        return answer

    def _trouble(self, error: object) -> Exception:
        if isinstance(error, ssl.SSLCertVerificationError):
            remedy = "set ca_file to the CA of the network, or ask its operator"
            if self._ca_file:
                remedy = f"put the CA that the network uses now into {self._ca_file} (ca_file), or ask its operator"
            return fetch_failed(
                f"{self.shown}: the server's certificate is not accepted ({excerpt(error.verify_message)}); {remedy}"
            )
        if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            why = error.reason or error
            return fetch_failed(
                f"{self.shown}: TLS fails ({excerpt(str(why))}); check ca_file, client_cert and client_key"
            )
        if isinstance(error, (ValueError, http.client.InvalidURL)):
            # The library's words repeat the URL, or that of the proxy, with query and password.
            return fetch_failed(
                f"{self.shown}: its URL, or the proxy's, is not understood; check source and https_proxy"
            )
        if isinstance(error, TimeoutError):
            why = "no answer in time"
        elif isinstance(error, http.client.HTTPException):
            why = f"the answer is no HTTP ({type(error).__name__})"
        elif isinstance(error, OSError):
            why = error.strerror or str(error)
        else:
            why = str(error)
        return RetryError(f"{self.shown}: {excerpt(why)}; check source, network and proxy, the next sync tries again")

    def _take(
        self,
        answer: http.client.HTTPResponse,
        meter: AnswerMeter,
        part: Path,
        previous: Validators,
        copier: Copier,
        deadline: Deadline,
    ) -> Validators | None:
        if answer.status == 304 and (previous.etag or previous.last_modified):
            return None
        if answer.status != 200:
            raise self._status(answer.status)
        if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise fetch_failed(
                f"{self.shown}: the server compresses the list though it was asked not to; ask its operator"
            )

        def read(size: int) -> bytes:
            try:
                data = answer.read(size)
            except http.client.IncompleteRead:
                raise RetryError(
                    f"{self.shown}: the connection ended before the list did; the next sync tries again"
                ) from None
            except (OSError, http.client.HTTPException) as error:
                raise self._trouble(error) from None
            except ValueError:  # a chunk of negative size
                raise self._trouble(http.client.UnknownTransferEncoding()) from None
            meter.delivered(len(data))
            return data

        total = answer.length
        done = copier.copy(read, part, total, self.shown)
        # http.client silently returns a short body where the size was announced.
        if deadline.expired or (total is not None and done != total):
            raise RetryError(f"{self.shown}: the connection ended before the list did; the next sync tries again")
        return Validators(_header(answer, "ETag"), _header(answer, "Last-Modified"))

    def _status(self, status: int) -> Exception:
        # The standard's phrase: the server's own may repeat what it was asked for, query and all.
        what = f"{self.shown}: the server answers {status} {http.client.responses.get(status, '')}".rstrip()
        if status == 429 or status >= 500:
            return RetryError(f"{what}; the next sync tries again, ask the network's operator if it stays so")
        if status in (401, 403):
            return fetch_failed(f"{what}; check client_cert, or the password in source")
        if status == 304:
            return fetch_failed(f"{what} (unchanged), though we sent no condition; ask the network's operator")
        return fetch_failed(f"{what}; check source")


def _opener(context: ssl.SSLContext, deadline: Deadline, meter: AnswerMeter) -> urllib.request.OpenerDirector:
    """Make an opener for https alone, over the proxy where there is one: none for http, ftp, file and redirects."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), _Handler(context, deadline, meter), urllib.request.UnknownHandler()):
        opener.add_handler(handler)
    return opener


def _header(answer: http.client.HTTPResponse, name: str) -> str:
    """Read a validator; "" for one that can't be sent back as it is."""
    value = answer.headers.get(name, "").strip()
    return value if value.isascii() and value.isprintable() and len(value) <= 1024 else ""


def _origin(url: str, shown: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise fetch_failed(f"{shown}: not a URL; fix source")
    return host, port or 443
