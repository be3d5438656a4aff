"""The parsers of other people's bytes: how each is called, what it may raise, and real input to begin with."""

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from closedmail.config import parse as parse_config
from closedmail.core.model import Rewriting
from closedmail.errors import ConfigError, Refused
from closedmail.inbound.header_sender import HeaderError, header_domains
from closedmail.inbound.sender import SenderError, queued_domains
from closedmail.lists.envelope import unwrap
from closedmail.lists.gpg_status import parse as parse_gpg_status
from closedmail.lists.suffix_file import load_suffixes
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


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """A parser: what it is given, what it raises for bad input, if anything, and whether its time has to be linear."""

    parse: Callable[[bytes], object]
    raises: type[Exception] | tuple[()] = ()
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
