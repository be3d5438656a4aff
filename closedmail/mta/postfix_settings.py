"""Read the settings of Postfix that a generation depends on, through postconf(1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from closedmail.core.model import Rewriting
from closedmail.programs import run

_NAMES = (
    "default_database_type",
    "swap_bangpath",
    "allow_percent_hack",
    "append_at_myorigin",
    "myorigin",
    "append_dot_mydomain",
    "mydomain",
    "smtpd_tls_fingerprint_digest",
    "transport_maps",
)
_TIME_LIMIT = 30  # seconds


@dataclass(frozen=True, slots=True)
class PostfixSettings:
    """The settings. `services` are the delivery services of master.cf that a transport table may name.

    `fingerprint_digest` is the digest of smtpd's certificate fingerprints, "" where its listeners differ.
    """

    default_database_type: str
    rewriting: Rewriting
    services: frozenset[str]
    fingerprint_digest: str = ""
    transport_maps: str = ""


def read_settings(config_directory: str) -> PostfixSettings:
    """Ask the Postfix with that configuration. Raises ProgramError."""
    # -x expands $name, as Postfix will when it uses the value.
    values = read_values(run_postfix("postconf", "-c", config_directory, "-x", *_NAMES))
    services, digest = set(), values.get("smtpd_tls_fingerprint_digest", "")
    for entry in read_services(config_directory):
        if entry.type == "unix":
            services.add(entry.name)
        if any("smtpd_tls_fingerprint_digest" in argument for argument in entry.arguments):
            digest = ""  # a listener has its own (-o), and which of them partners come to is not known here
    rewriting = Rewriting(
        swap_bangpath=values.get("swap_bangpath") == "yes",
        allow_percent_hack=values.get("allow_percent_hack") == "yes",
        append_at_myorigin=values.get("append_at_myorigin") == "yes",
        myorigin=_origin(values.get("myorigin", "")),
        append_dot_mydomain=values.get("append_dot_mydomain") == "yes",
        mydomain=values.get("mydomain", "").lower(),
    )
    database = values.get("default_database_type", "hash")
    return PostfixSettings(database, rewriting, frozenset(services), digest, values.get("transport_maps", ""))


class MasterEntry(NamedTuple):
    """A service of master.cf, with the fields of master(5) that matter here, as written there."""

    name: str
    type: str
    chroot: str
    command: str
    arguments: tuple[str, ...]


def read_services(config_directory: str) -> list[MasterEntry]:
    """Read master.cf through `postconf -M`, one line a service. Raises ProgramError."""
    found = []
    for line in run_postfix("postconf", "-c", config_directory, "-M").splitlines():
        fields = line.split()
        if len(fields) >= 8:  # else postconf has complained of it
            found.append(MasterEntry(fields[0], fields[1], fields[4], fields[7], tuple(fields[8:])))
    return found


def read_values(text: str) -> dict[str, str]:
    """Parse the output of postconf: lines of `name = value`."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_options(text: str) -> dict[str, dict[str, str]]:
    """Parse the output of postconf -P, the -o settings of master.cf, by `name/type` of the service.

    Its lines are `name/type/parameter = value`.
    """
    found: dict[str, dict[str, str]] = {}
    for name, value in read_values(text).items():
        service, _, parameter = name.rpartition("/")
        found.setdefault(service, {})[parameter] = value
    return found


def run_postfix(*command: str, stdin: Path | None = None, stdout: Path | None = None) -> str:
    """Run a Postfix command and return what it prints (nothing where that goes to a file).

    Raises ProgramError when it fails, does not end or is missing, and OSError where a file can't be opened.
    """
    ended = run(
        command,
        time_limit=_TIME_LIMIT * (20 if stdin or stdout else 4),
        stdin=stdin or b"",
        stdout=stdout,
        package="Postfix",
        # postmap -q exits 1 when a key was not found, which the caller sees from the output.
        accepted=(0, 1) if stdout else (0,),
    )
    if ended.status and ended.stderr:
        raise ended.error()
    return ended.stdout.decode("utf-8", "replace")


def _origin(value: str) -> str:
    """Return the name in `myorigin`: a path means the first line of that file, as /etc/mailname on Debian."""
    if value.startswith("/"):
        try:
            value = Path(value).read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
        except OSError:
            return ""
    return value.lower()
