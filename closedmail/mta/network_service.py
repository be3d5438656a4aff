"""Define the Postfix services by which closed networks deliver: each network's own entry of master.cf.

It is smtp(8) with the network's own TLS policies, so that no list touches the policy of other mail, nor that of
another network. A service of another name has nothing of what was said of `smtp`: partners would see another client
address than they allow. So it takes over what the administrator set with `-o`, and main.cf's parameters that are named
after `smtp`.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from closedmail.core.model import SHARED_TABLE, Config, PostfixMaps
from closedmail.mta.map_types import MapTypes
from closedmail.mta.postfix_config import PostfixConfig, Service

# postconf(5), "transport_…": main.cf's parameters that begin with the name of a service.
_NAMED = (
    "delivery_slot_cost",
    "delivery_slot_discount",
    "delivery_slot_loan",
    "destination_concurrency_failed_cohort_limit",
    "destination_concurrency_limit",
    "destination_concurrency_negative_feedback",
    "destination_concurrency_positive_feedback",
    "destination_rate_delay",
    "destination_recipient_limit",
    "extra_recipient_limit",
    "initial_destination_concurrency",
    "minimum_delivery_slots",
    "recipient_limit",
    "recipient_refill_delay",
    "recipient_refill_limit",
    "transport_rate_delay",
)
_FIELDS = ("private", "unprivileged", "chroot", "wakeup", "process limit")  # master(5), between type and command
_TLS_REQUIRED = (3, 10)  # the first Postfix with tls_required_enable
_MIXED_LEVEL = "encrypt"


@dataclass(frozen=True, slots=True)
class NetworkService:
    """A network's own service. `path` is its TLS policy table, of type `map_type`.

    `level` is the TLS level of a nexthop that has no row there.
    """

    name: str
    path: str
    map_type: str
    level: str

    def options(self, version: tuple[int, ...]) -> dict[str, str]:
        """Return the settings that make it the network's own, for a version of Postfix."""
        found = {
            "syslog_name": f"postfix/{self.name}",
            "smtp_tls_policy_maps": f"{self.map_type}:{self.path}",
            "smtp_tls_security_level": self.level,
            "smtp_fallback_relay": "",
        }
        # A header `TLS-Required: no` switches every TLS policy off otherwise.
        return found | ({"tls_required_enable": "no"} if version >= _TLS_REQUIRED else {})


def network_services(config: Config, types: MapTypes) -> list[NetworkService]:
    """List the services that are the networks' own, in the order of the file; without maps for Postfix there are none.

    The level is that of the network; of partners without a network that of them all, or `encrypt`. A network without a
    list and without partners delivers nothing, and needs none.
    """
    if config.postfix is None:
        return []
    levels: dict[str, str] = {network.name: network.outbound.tls for network in config.networks}
    listed = {network.name for network in config.networks if network.source}
    alone = {item.outbound.tls for item in config.partners if item.outbound and not item.network}
    levels[""] = alone.pop() if len(alone) == 1 else _MIXED_LEVEL
    users = [(network.name, network.outbound) for network in config.networks if network.source]
    users += [
        (item.network, item.outbound)
        for item in config.partners
        if item.outbound and (item.route or item.outbound.smarthost or item.network in listed)
    ]
    found = {}
    for network, outbound in users:
        if outbound.own_service:
            path = f"{config.postfix.map_dir.rstrip('/')}/{outbound.tls_table}"
            # A table that master.cf names already keeps its type.
            map_type = types.of(outbound.tls_table)[0]
            found[outbound.transport] = NetworkService(outbound.transport, path, map_type, levels[network])
    return list(found.values())


def service_entry(service: NetworkService, version: tuple[int, ...] = ()) -> str:
    """Render a network's service as an entry of master.cf beside an entry `smtp` that has no settings of its own."""
    return _entry(service.name, (), service.options(version))


def service_faults(postfix: PostfixConfig, service: NetworkService) -> list[str]:
    """Return how the service that is in master.cf differs from what it should be, [] where it does not."""
    found, like = postfix.service(service.name), postfix.service("smtp")
    if found is None:
        return ["it is not there"]
    faults = [] if found.command == "smtp" else [f"its command is {found.command}, not smtp"]
    if like:
        for what, has, wanted in zip(_FIELDS, found.fields, like.fields, strict=False):
            if has != wanted:
                faults.append(f"{what} is {has}, and that of smtp is {wanted}")
    for name, value in _wanted(service, postfix.version, like).items():
        if name not in found.options:
            faults.append(f"it lacks -o {name}={value}")
        elif _plain(found.get(name)) != _plain(like.get(name) if like and value is like.options.get(name) else value):
            faults.append(f"its {name} is {found.get(name) or 'empty'}, not {value or 'empty'}")
    for name, value in _named_parameters(postfix, service).items():
        if _plain(postfix.raw.get(name, "")) != _plain(value):
            faults.append(f"main.cf lacks {name} = {value}")
    return faults


def service_commands(postfix: PostfixConfig, service: NetworkService) -> list[tuple[str, ...]]:
    """Return the arguments of postconf that make the service, or mend it; what it has beyond ours stays."""
    found, like = postfix.service(service.name), postfix.service("smtp")
    options = _wanted(service, postfix.version, like)
    if found:
        options |= {name: value for name, value in found.options.items() if name not in options}
    entry = _entry(service.name, like.fields if like else (), options)
    commands: list[tuple[str, ...]] = [("-M", "-e", f"{service.name}/unix={entry}")]
    parameters = _named_parameters(postfix, service)
    if parameters:
        commands.append(("-e", *(f"{name} = {value}" for name, value in parameters.items())))
    return commands


def named_service_command(postfix: PostfixConfig, name: str, maps: PostfixMaps, types: MapTypes) -> tuple[str, ...]:
    """Return the arguments of postconf that make a service which `outbound.transport` names."""
    like = postfix.service("smtp")
    options = {
        "syslog_name": f"postfix/{name}",
        "smtp_fallback_relay": "",
        "smtp_tls_security_level": _MIXED_LEVEL,
        "smtp_tls_policy_maps": f"{types.of(SHARED_TABLE)[0]}:{maps.map_dir.rstrip('/')}/{SHARED_TABLE}",
    }
    return ("-M", "-e", f"{name}/unix={_entry(name, like.fields if like else (), options)}")


def postconf_command(directory: str, arguments: Iterable[str]) -> str:
    """Render a postconf command for a configuration directory, as one types it in a shell."""
    where = () if directory == PostfixMaps().config_directory else ("-c", directory)
    return shlex.join(("postconf", *where, *arguments))


def _wanted(service: NetworkService, version: tuple[int, ...], like: Service | None) -> dict[str, str]:
    own = service.options(version)
    inherited = {name: value for name, value in like.options.items() if name not in own} if like else {}
    return own | inherited


def _named_parameters(postfix: PostfixConfig, service: NetworkService) -> dict[str, str]:
    return {f"{service.name}_{name}": postfix.raw[f"smtp_{name}"] for name in _NAMED if f"smtp_{name}" in postfix.raw}


def _entry(name: str, fields: tuple[str, ...], options: Mapping[str, str]) -> str:
    return " ".join((name, "unix", *(fields or ("-", "-", "n", "-", "-")), "smtp", *map(_option, options.items())))


def _option(option: tuple[str, str]) -> str:
    name, value = option
    return f"-o {{ {name} = {value} }}" if re.search(r"\s", value) else f"-o {name}={value}"


def _plain(value: str) -> str:
    return " ".join(value.split())
