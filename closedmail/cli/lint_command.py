"""`closedmail lint`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from closedmail.cli.main import DEFAULT_CONFIG, Settings
from closedmail.cli.output import print_json
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.errors import ClosedmailError, ConfigError, NothingSet
from closedmail.lists.openpgp import unverified_text
from closedmail.lists.suffix_file import load_suffixes
from closedmail.mailertable.admission import Admission
from closedmail.mailertable.grammar import MailertableError
from closedmail.mailertable.listing import Listing
from closedmail.mailertable.reader import read_mailertable
from closedmail.sync.host_admission import admission_of
from closedmail.sync.sync_report import skipped_lines
from closedmail.words import counted

_MAX_SIZE = 1 << 30  # bytes; a local file is the administrator's own


@click.command("lint")
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--network", "network", metavar="NAME", help="Whose list it is, where `within` differs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, file: Path, network: str | None, as_json: bool) -> int:
    """Check a mailertable line by line.

    FILE is plain or signed; the signature is not checked. Each line that sync would skip is named.
    """
    listing = lint(file, _admission(settings, network))
    if as_json:
        print_json({"lines": listing.lines, "bad": [skipped.to_json() for skipped in listing.skipped]})
    else:
        for line in skipped_lines(listing.skipped):
            click.echo(line.strip())
        lines, domains = counted(listing.lines, "line"), counted(len(listing.entries), "domain")
        click.echo(f"{lines}, {domains}, {counted(len(listing.skipped), 'line')} skipped")
    return 1 if listing.skipped else 0


def lint(file: Path, admission: Admission) -> Listing:
    """Read a file as sync would. Raises ClosedmailError when it can't be read, or no line can be told in it."""
    with TemporaryDirectory(prefix="closedmail-") as work:
        try:
            text = unverified_text(file, Path(work), _MAX_SIZE) or file
            with text.open("rb") as lines:
                return read_mailertable(lines, admission)
        except OSError as error:
            raise ClosedmailError(f"{file}: {error.strerror}") from None
        except MailertableError as error:
            raise ClosedmailError(f"{file}: {error}") from None


def _admission(settings: Settings, network: str | None) -> Admission:
    """Make the admission by the configuration, where there is one. Raises ConfigError for an unknown network."""
    suffixes, _ = load_suffixes()
    config = _config(settings)
    return admission_of(config, suffixes).of_list(_within(config, network))


def _config(settings: Settings) -> Config | None:
    usual = str(settings.config_path) == DEFAULT_CONFIG
    if usual and _is_missing(settings.config_path):
        return None
    try:
        return load(settings.config_path)
    except NothingSet:
        if usual:
            return None
        raise


def _within(config: Config | None, name: str | None) -> tuple[str, ...]:
    """Find the bounds of the network's list: the named one's, or those that all have."""
    bounds = {network.name: network.within for network in config.networks if network.source} if config else {}
    if name is not None:
        if name not in bounds:
            known = ", ".join(bounds) or "none"
            raise ConfigError("--network", f"no network {name!r} that has a list (configured: {known})")
        return bounds[name]
    if len(set(bounds.values())) > 1:
        raise ConfigError(
            "--network", f"the networks' within differ; say whose list it is, one of: {', '.join(bounds)}"
        )
    return next(iter(bounds.values()), ())


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it may exist: reading it shows what is wrong
        return False
    return False
