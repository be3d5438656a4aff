"""`closedmail rollback`."""

from pathlib import Path

import click

from closedmail.cli.main import Settings
from closedmail.config import load
from closedmail.owner import become_owner
from closedmail.sync.rollback import rollback


@click.command("rollback")
@click.argument("generation", type=click.IntRange(min=1))
@click.pass_obj
def command(settings: Settings, generation: int) -> None:
    """Put an earlier generation back in force.

    Lists and rules, in both directions; closedmail history lists the generations. GENERATION gets a new number, and
    stays in force until a list comes that was signed later than the one rolled back from, until the configuration
    file's rules change, or until sync --force.
    """
    config = load(settings.config_path)
    become_owner(Path(config.gateway.state_dir))
    report = rollback(config, generation)
    for line in report.lines():
        click.echo(line)
    if report.published:
        click.echo(
            f"It is generation {generation} again. The lists rolled back from are refused until newer ones come."
        )
