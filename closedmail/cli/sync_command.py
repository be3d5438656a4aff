"""`closedmail sync`."""

import time

import click

from closedmail.cli.as_owner import go_on_as_owner
from closedmail.cli.main import Settings
from closedmail.cli.output import print_json, progress
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.errors import ClosedmailError, ConfigError
from closedmail.report.monitoring_files import write_monitoring_files
from closedmail.sync.own_row_check import report_own_rows
from closedmail.sync.run import sync
from closedmail.sync.sync_report import SyncReport


@click.command("sync")
@click.option("--network", "names", multiple=True, metavar="NAME", help="This network's list only; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Do everything but publish, and change nothing.")
@click.option(
    "--force", is_flag=True, help="Accept a list that the brakes would refuse; never one that is not verified."
)
@click.option(
    "--forget-signing-time",
    is_flag=True,
    help="Go back behind the newest accepted signing time of --network NAME, where that is ahead of the clock.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(
    settings: Settings, names: tuple[str, ...], dry_run: bool, force: bool, forget_signing_time: bool, as_json: bool
) -> int:
    """Fetch and verify the lists, and put them in force.

    All networks are published together, as one generation.
    """
    if forget_signing_time and not names:
        raise click.UsageError("--forget-signing-time needs --network NAME: whose signing time?")
    config = load(settings.config_path)
    go_on_as_owner(config)
    try:
        # One step for each list, and reading, settling, building.
        with progress(len(config.networks) + 3, verbose=settings.verbose) as step:
            report = sync(
                config,
                names=names,
                dry_run=dry_run,
                force=force,
                forget_signing_time=forget_signing_time,
                progress=step,
            )
    except ConfigError:
        raise  # nothing was done
    except ClosedmailError:
        if not dry_run:
            _update_monitoring(config)
        raise
    kept = _is_busy(report) or _look_at_own_rows(config, report)
    if as_json:
        print_json(report.to_json())
    else:
        for line in report.lines():
            click.echo(line)
    for error in report.errors():
        click.echo(f"closedmail: error: {error}", err=True)
    written = dry_run or _is_busy(report) or _update_monitoring(config)
    return 1 if report.refused or not (written and kept) else 0


def _look_at_own_rows(config: Config, report: SyncReport) -> bool:
    """Look for rows of the administrator's that Postfix uses in place of ours; returns whether it could be kept."""
    try:
        report_own_rows(config, report)
    except OSError as error:
        click.echo(f"closedmail: error: {error.filename}: {error.strerror}; the lists are not affected", err=True)
        return False
    return True


def _is_busy(report: SyncReport) -> bool:
    """Check whether another sync is running; that one writes the files."""
    return report.failure is not None and report.failure.code == "busy"


def _update_monitoring(config: Config) -> bool:
    """Write the files of [monitoring], last of all: what was published stays so.

    Returns whether all could be written.
    """
    errors = list(write_monitoring_files(config, int(time.time())))
    for error in errors:
        click.echo(f"closedmail: error: {error}; the lists are not affected", err=True)
    return not errors
