"""The parsers of other people's bytes: how each is called, what it may raise, and real input to begin with."""

import io
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from closedmail.config import parse as parse_config
from closedmail.core.model import Rewriting
from closedmail.errors import ConfigError, Refused
from closedmail.inbound.header_sender import HeaderError, header_domains
from closedmail.inbound.sender import SenderError, queued_domains
from closedmail.lists.envelope import unwrap
from closedmail.lists.gpg_status import parse as parse_gpg_status
from closedmail.lists.https_source import UrlSource
from closedmail.lists.suffix_file import load_suffixes
from closedmail.lists.transfer import Copier, Deadline, RetryError, Validators
from closedmail.mailertable.grammar import MailertableError
from closedmail.mailertable.reader import read_csv, read_domains, read_mailertable
from closedmail.milter.authentication_results import bears_our_mark
from closedmail.milter.milter_macros import read_macros
from closedmail.milter.milter_session import internal_form
from closedmail.mta.config_text import entries, marks, take_back
from closedmail.mta.postconf import read_options, read_values
from closedmail.mta.sendmail_cf import parse_cf
from closedmail.policyd.policy_protocol import ProtocolError, RequestReader, envelope_of
from closedmail.probe.dane import read_answer
from closedmail.probe.server_certificate import NotACertificate, read_certificate
from closedmail.probe.smtp_probe import SmtpProbe
from closedmail.replay.mail_log import first_time, is_export, read_export, read_lines
from closedmail.replay.received_mail import Replay
from closedmail.sync.host_admission import admission_of

_CORPUS = Path(__file__).resolve().parent / "fuzz_corpus"
_REWRITING = Rewriting(myorigin="city.example")
_OWN = '[gateway]\nown_domains = ["city.example"]\n'
_ADMISSION = admission_of(parse_config(_OWN), load_suffixes(Path("/nowhere"))[0]).of_list(())
_MAX_SIZE = 1 << 20
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """A parser: what it is given, what it raises for bad input, if anything, and whether its time has to be linear."""

    parse: Callable[[bytes], object]
    raises: type[Exception] | tuple[type[Exception], ...] = ()
    linear: bool = True


def _policy(data: bytes) -> None:
    reader = RequestReader()
    reader.receive_data(data)
    while request := reader.next_request():
        envelope = envelope_of(request)
        try:
            queued_domains(envelope.sender, _REWRITING)
        except SenderError:
            continue


def _milter(data: bytes) -> None:
    address, _, rest = data.partition(b"\n")
    names = (
        "{mail_addr}",
        "i",
        "{auth_authen}",
        "{cert_subject}",
        "{cn_subject}",
        "{cn_issuer}",
        "{cert_fp}",
        "v",
        "{verify}",
    )
    values = rest.decode("utf-8", "surrogateescape").split("\n")
    read_macros(dict(zip(names, values, strict=False)))
    queued_domains(internal_form(address.decode("utf-8", "surrogateescape")), _REWRITING)


def _openpgp(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="closedmail-fuzz-") as folder:
        raw = Path(folder, "list")
        raw.write_bytes(data)
        unwrap(raw, Path(folder), _MAX_SIZE)


class _Server:
    """In the place of a connection: a server that has said all of its answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def sendall(self, data: bytes) -> None:
        """Take a request, and ignore it."""

    def makefile(self, _mode: str, *, buffering: int) -> io.BytesIO:  # noqa: ARG002  http.client says so
        """Return the answer as a file."""
        return io.BytesIO(self._answer)

    def close(self) -> None:
        """Do nothing: there is no connection."""


def _http(data: bytes) -> None:
    """Fetch from a server that gives this answer to each request, also to those that follow a redirect."""

    def connect(connection: Any) -> None:
        connection.sock = _Server(data)

    source = UrlSource("https://lists.example/list", _TLS, _TLS)
    with (
        tempfile.TemporaryDirectory(prefix="closedmail-fuzz-") as folder,
        mock.patch("http.client.HTTPSConnection.connect", connect),
    ):
        source.read(Path(folder, "part"), Validators(etag='"a1"'), Copier(_MAX_SIZE, None), Deadline(3600))


def _mail_log(data: bytes) -> None:
    head = data[:4096]
    first_time(head)
    replay = Replay(lambda _: None, lambda _: None)
    for line in (read_export if is_export(head) else read_lines)(io.BytesIO(data)):
        replay.feed(line)
    replay.finish()


def _smtp(data: bytes) -> None:
    probe = SmtpProbe("gw.city.example", use_tls=True)
    for start in range(0, len(data), 1000):
        probe.receive(data[start : start + 1000])
        probe.outgoing()


def _main_cf(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for master in (False, True):
        if "".join(piece for _, piece in entries(text, master=master)) != text:
            raise AssertionError("the pieces are not the text")
        marks(text, master=master)
        take_back(text, "a = b\n", text, master=master)
    read_values(text)
    read_options(text)


TARGETS: dict[str, FuzzTarget] = {
    "policy": FuzzTarget(_policy, ProtocolError),
    "milter": FuzzTarget(_milter, SenderError),
    "header": FuzzTarget(lambda data: header_domains([data], _REWRITING), HeaderError),
    "mark": FuzzTarget(lambda data: bears_our_mark(data, "gw.city.example")),
    "mailertable": FuzzTarget(lambda data: read_mailertable(io.BytesIO(data), _ADMISSION), MailertableError),
    "domains": FuzzTarget(lambda data: read_domains(io.BytesIO(data), _ADMISSION), MailertableError),
    "csv": FuzzTarget(lambda data: read_csv(io.BytesIO(data), _ADMISSION, "Domain"), MailertableError),
    "http": FuzzTarget(_http, (Refused, RetryError)),
    "openpgp": FuzzTarget(_openpgp, Refused),
    "gpg-status": FuzzTarget(lambda data: parse_gpg_status(_text(data).split("\n")), Refused),
    "mail-log": FuzzTarget(_mail_log),
    "smtp": FuzzTarget(_smtp),
    "der": FuzzTarget(read_certificate, NotACertificate),
    "posttls-finger": FuzzTarget(lambda data: read_answer(_text(data))),
    "main.cf": FuzzTarget(_main_cf),
    "sendmail.cf": FuzzTarget(lambda data: parse_cf(_text(data))),
    # tomllib takes quadratic time for a key of very many parts; but nobody else writes this file.
    "configuration": FuzzTarget(lambda data: parse_config(_text(data)), ConfigError, linear=False),
}


def corpus_of(name: str) -> list[bytes]:
    """Read the real input that mutants of a parser begin with."""
    return [path.read_bytes() for path in sorted((_CORPUS / name).iterdir())]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
