"""`closedmail lint`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from closedmail.cli.main import DEFAULT_CONFIG, Settings
from closedmail.cli.output import print_json
from closedmail.config import load
from closedmail.core.domain import DomainSet
from closedmail.errors import ClosedmailError, NothingSet
from closedmail.lists.openpgp import unverified_text
from closedmail.lists.suffix_file import load_suffixes
from closedmail.mailertable.listing import Admission, Listing
from closedmail.mailertable.reader import read_mailertable
from closedmail.sync.sync_report import skipped_lines

_MAX_SIZE = 1 << 30  # bytes; a local file is the administrator's own


@click.command("lint")
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, file: Path, as_json: bool) -> int:
    """Check a mailertable line by line.

    FILE is plain or signed; the signature is not checked. Each line that sync would skip is named.
    """
    listing = lint(file, _admission(settings))
    if as_json:
        print_json({"lines": listing.lines, "bad": [skipped.to_json() for skipped in listing.skipped]})
    else:
        for line in skipped_lines(listing.skipped):
            click.echo(line.strip())
        click.echo(f"{listing.lines} lines, {len(listing.entries)} domains, {len(listing.skipped)} lines skipped")
    return 1 if listing.skipped else 0


def lint(file: Path, admission: Admission) -> Listing:
    """Read a file as sync would. Raises ClosedmailError when it can't be read."""
    with TemporaryDirectory(prefix="closedmail-") as work:
        try:
            text = unverified_text(file, Path(work), _MAX_SIZE) or file
            with text.open("rb") as lines:
                return read_mailertable(lines, admission)
        except OSError as error:
            raise ClosedmailError(f"{file}: {error.strerror}") from None


def _admission(settings: Settings) -> Admission:
    """Read which keys a list may have from the configuration, where there is one."""
    suffixes, _ = load_suffixes()
    usual = str(settings.config_path) == DEFAULT_CONFIG
    if usual and _is_missing(settings.config_path):
        return Admission(DomainSet(()), suffixes)
    try:
        config = load(settings.config_path)
    except NothingSet:
        if usual:
            return Admission(DomainSet(()), suffixes)
        raise
    partners = frozenset(partner.key for partner in config.partners)
    return Admission(DomainSet(config.gateway.own_domains), suffixes, partners)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it may exist: reading it shows what is wrong
        return False
    return False
