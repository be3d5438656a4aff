"""`closedmail check`."""

from pathlib import Path

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.config import find_faults


@click.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, file: Path | None, as_json: bool) -> int:
    """Check the configuration, and name all its errors.

    FILE is another one than the configuration in use, such as the next one of Ansible's template. Files of conf.d
    beside it are part of it. Neither the state directory nor the network is touched.
    """
    path = file or settings.config_path
    faults = find_faults(path)
    if as_json:
        print_json({"errors": [fault.to_json() for fault in faults]})
    else:
        for fault in faults:
            click.echo(str(fault))
        if not faults:
            click.echo(f"{path}: no errors")
    return 2 if faults else 0
