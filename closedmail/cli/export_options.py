"""Define the options of `closedmail export` that belong to some targets only."""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import cast

import click

from closedmail.exports.target import ExportRequest, Form, Option, Target

Given = int | str | bool | tuple[str, ...] | None

_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)+", re.ASCII)
_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.option("--limit", type=int, metavar="N", help="Exchange: at most N domains a connector (default 1000)."),
    click.option(
        "--relay",
        multiple=True,
        metavar="HOST",
        help="exchange-online: your own relay, a name or an IPv4 address, to which all mail to listed domains goes.",
    ),
    click.option(
        "--tls-name", metavar="NAME", help="exchange-online: the name in the relay's certificate, if not its own."
    ),
    click.option(
        "--inbound-from",
        multiple=True,
        metavar="NETWORK",
        help="exchange-online: partners' mail comes by way of your relay, from there; replaces allow_from.",
    ),
    click.option("--scoped", is_flag=True, help="exchange-online: connectors that only mail flow rules use."),
    click.option("--domain-secure", is_flag=True, help="exchange-onprem: keep TLSReceiveDomainSecureList, too."),
)


def target_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with all the options that belong to some targets only."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def request_of(name: str, target: Target, form: Form, given: Mapping[str, Given]) -> ExportRequest:
    """Build the request for a target. Raises UsageError for an option that it lacks, needs, or can't take so."""
    named = {cast(Option, key.replace("_", "-")): value for key, value in given.items()}
    said = {option: value for option, value in named.items() if value not in (None, ()) and value is not False}
    for option in said:
        if option not in target.options:
            raise click.UsageError(f"{name} has no option --{option}")
    for option in target.needed:
        if option not in said:
            raise click.UsageError(f"{name} needs --{option}")
    limit = cast(int, said.get("limit", 0))
    if "limit" in said and not 1 <= limit <= target.most:
        raise click.UsageError(f"--limit: {limit} is not between 1 and {target.most}")
    return ExportRequest(
        form=form,
        limit=limit,
        relays=tuple(map(_host, cast(tuple[str, ...], said.get("relay", ())))),
        tls_name=_name("--tls-name", cast(str, said["tls-name"])) if "tls-name" in said else "",
        inbound_from=tuple(map(_network, cast(tuple[str, ...], said.get("inbound-from", ())))),
        scoped=bool(said.get("scoped")),
        domain_secure=bool(said.get("domain-secure")),
    )


def _host(text: str) -> str:
    """Parse a relay: a name, or an IPv4 address."""
    try:
        return str(IPv4Address(text))
    except ValueError:
        return _name("--relay", text)


def _name(option: str, text: str) -> str:
    name = text.lower()
    if not _NAME.fullmatch(name.removeprefix("*.") if option == "--tls-name" else name):
        raise click.UsageError(f"{option}: {text!r} is no host name")
    return name


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise click.UsageError(f"--inbound-from: {error}") from None
