"""`closedmail rollback`."""

import click

from closedmail.cli.as_owner import go_on_as_owner
from closedmail.cli.main import Settings
from closedmail.config import load
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
    go_on_as_owner(config)
    report = rollback(config, generation)
    for line in report.lines():
        click.echo(line)
    if report.published:
        click.echo(
            f"It is generation {generation} again. The lists rolled back from are refused until newer ones come."
        )
