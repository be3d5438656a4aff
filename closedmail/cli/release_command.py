"""`closedmail release`."""

from contextlib import suppress

import click

from closedmail.cli.as_owner import go_on_as_owner
from closedmail.cli.main import Settings
from closedmail.config import load
from closedmail.core.domain import DomainError, parse_key
from closedmail.routes.nexthop import parse_nexthop
from closedmail.sync.release import release


@click.command("release")
@click.argument("domains", metavar="DOMAIN...", nargs=-1, required=True)
@click.pass_obj
def command(settings: Settings, domains: tuple[str, ...]) -> None:
    """Release held domains at once.

    closedmail status names them. The ordinary rules route their mail again. With a nexthop of tls_policy, or a domain
    that is routed, end TLS rows that only stay for tls_linger.
    """
    keys = [_key(domain) for domain in domains]
    config = load(settings.config_path)
    go_on_as_owner(config)
    report = release(config, keys)
    for line in report.lines():
        click.echo(line)
    click.echo(f"Released: {', '.join(dict.fromkeys(keys))}.")


def _key(domain: str) -> str:
    try:
        return parse_key(domain)
    except DomainError as error:
        with suppress(ValueError):
            return str(parse_nexthop(domain))
        raise click.UsageError(f"{domain!r} is no domain: {error}") from None
