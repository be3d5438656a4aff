"""Gather what a generation depends on beside the lists: the configuration, Postfix's own settings, the Public Suffix
List, the administrator's own rows for Sendmail.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from closedmail import __version__
from closedmail.core.model import Config, Outbound, Rewriting
from closedmail.core.rule import rules_of
from closedmail.errors import ClosedmailError, ConfigError, Refused
from closedmail.lists.obtain import key_file_digest
from closedmail.lists.suffix_file import load_suffixes
from closedmail.mailertable.admission import Admission
from closedmail.maps.local_rows_file import LocalRows, read_local_rows
from closedmail.maps.unusual_spellings import unusual_table
from closedmail.mta.lookup_chain import lookup_chain
from closedmail.mta.map_types import MapTypes, choose_types
from closedmail.mta.network_service import (
    named_service_command,
    network_services,
    postconf_command,
    service_commands,
)
from closedmail.mta.own_addresses import has_ipv6
from closedmail.mta.own_tables import OwnTables, TableError, own_values
from closedmail.mta.postconf import inspect_postfix
from closedmail.mta.postfix_config import PostfixConfig
from closedmail.mta.postfix_settings import PostfixSettings, read_map_types, read_settings
from closedmail.mta.recipient_guard import lacks_guard
from closedmail.programs import ProgramError
from closedmail.publish.built_maps import files_in, read_rows
from closedmail.routes.sendmail_limits import why_refused
from closedmail.sync.host_admission import admission_of
from closedmail.sync.rules import rules_digest


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that `sync` reads before it fetches.

    `digest` changes when any of it does, `rules` when the configuration does; `key_digests` are by network.
    """

    config: Config
    admission: Admission
    postfix: PostfixSettings | None
    rules: str
    digest: str
    key_digests: dict[str, str]
    local_rows: LocalRows
    map_types: MapTypes  # of Postfix's maps
    shields: dict[str, str]  # what the administrator's own tables say of own domains, by key

    @property
    def rewriting(self) -> Rewriting:
        """The settings by which Postfix completes senders."""
        return self.postfix.rewriting if self.postfix else Rewriting()

    @property
    def lacks_guard(self) -> bool:
        """Whether Postfix reads our routes, and not the table that refuses unusual spellings of recipients."""
        maps = self.config.postfix
        return (
            maps is not None
            and self.postfix is not None
            and lacks_guard(self.postfix.main.get("transport_maps", ""), maps)
        )


def gather(config: Config) -> Inputs:
    """Read everything. Raises ConfigError, and Refused(publish-failed) when postconf fails."""
    local_rows = _gather_sendmail(config)
    suffixes, suffix_digest = load_suffixes()
    key_digests = {network.name: key_file_digest(network) for network in config.networks}
    try:
        postfix = read_settings(config.postfix.config_directory) if config.postfix else None
        map_types = _map_types(config, postfix)
    except ProgramError as error:
        raise Refused("publish-failed", str(error)) from None
    rules = rules_digest(config)
    config = _with_families(config, postfix)
    shields = _shields(config, postfix)
    parts = (repr(_sorted(postfix)), repr(map_types), repr(shields), suffix_digest, repr(local_rows))
    seed = "\n".join((__version__, rules, *parts))
    if postfix:
        families = {(rule.outbound.transport, rule.outbound.families) for rule in rules_of(config) if rule.outbound}
        seed += f"\n{unusual_table()!r}\n{sorted(families)!r}"
    digest = hashlib.sha256(seed.encode()).hexdigest()
    admission = admission_of(config, suffixes)
    return Inputs(config, admission, postfix, rules, digest, key_digests, local_rows, map_types, shields)


def check_services(inputs: Inputs) -> None:
    """Raise Refused(publish-failed) for a delivery service that master.cf does not have.

    It is refused, too, where a network's own service does not read the network's TLS policies.
    """
    postfix, maps = inputs.postfix, inputs.config.postfix
    if postfix is None or maps is None:
        return
    for service in network_services(inputs.config, inputs.map_types):
        if not postfix.reads(service.name, service.path):
            what = (
                f"that reads {service.path}" if service.name in postfix.services else "for the mail to these partners"
            )
            found = _inspected(maps.config_directory)
            raise Refused(
                "publish-failed",
                f"master.cf has no unix service {service.name} {what}; run: "
                f"{_commands(found, service_commands(found, service))}, or let it do all: "
                f"{inputs.config.command('setup')}",
            )
    for rule in rules_of(inputs.config):
        outbound = rule.outbound
        if outbound and not outbound.own_service and outbound.transport not in postfix.services:
            found = _inspected(maps.config_directory)
            command = _commands(found, [named_service_command(found, outbound.transport, maps, inputs.map_types)])
            raise Refused(
                "publish-failed",
                f"{rule.table}.outbound.transport: master.cf has no unix service {outbound.transport!r}; "
                f"run: {command}",
            )


def _inspected(config_directory: str) -> PostfixConfig:
    try:
        return inspect_postfix(config_directory)
    except ClosedmailError as error:
        raise Refused("publish-failed", str(error)) from None


def _commands(postfix: PostfixConfig, commands: Iterable[Iterable[str]]) -> str:
    return " && ".join(postconf_command(postfix.directory, arguments) for arguments in commands)


def _gather_sendmail(config: Config) -> LocalRows:
    """Read the administrator's own rows. Raises ConfigError for these, and for demands that Sendmail can't meet."""
    if config.sendmail is None:
        return LocalRows()
    refused = why_refused(config)
    if refused:
        raise ConfigError(*refused)
    if config.postfix and config.postfix.map_dir == config.sendmail.map_dir:
        raise ConfigError("sendmail.map_dir", "Postfix's maps are in this folder; choose another one")
    return read_local_rows(config.sendmail)


def _with_families(config: Config, postfix: PostfixSettings | None) -> Config:
    """Say of each delivery by which IP versions its service reaches others."""
    if postfix is None:
        return config
    networks = tuple(replace(item, outbound=_delivering(item.outbound, postfix)) for item in config.networks)
    partners = tuple(
        replace(item, outbound=_delivering(item.outbound, postfix)) if item.outbound else item
        for item in config.partners
    )
    return replace(config, networks=networks, partners=partners)


def _delivering(outbound: Outbound, postfix: PostfixSettings) -> Outbound:
    families = postfix.families_of(outbound.transport)
    if families == "all" and not has_ipv6():  # Postfix goes on without, and warns (inet_proto.c)
        families = "ipv4"
    return replace(outbound, families=families)


def _map_types(config: Config, postfix: PostfixSettings | None) -> MapTypes:
    """Choose the types of Postfix's maps. Raises ProgramError."""
    if config.postfix is None or postfix is None:
        return MapTypes("")
    asked, folder = config.postfix.map_type, config.postfix.map_dir
    present = files_in(folder)
    directory, default = config.postfix.config_directory, postfix.default_database_type
    return choose_types(asked, default, postfix.tables, folder, present, lambda: read_map_types(directory))


def _shields(config: Config, postfix: PostfixSettings | None) -> dict[str, str]:
    """Find what the administrator's own tables say of own domains; where one can't be read, what was found last."""
    if config.postfix is None or postfix is None:
        return {}
    chain = lookup_chain(postfix.main, postfix.options, config.postfix.map_dir)
    own = config.gateway.own_domains
    try:
        return own_values(chain, OwnTables(config.postfix.config_directory), own)
    except TableError:
        keys = {key for domain in own for key in (domain, f".{domain}")}
        return {key: value for key, value in read_rows(config.postfix.map_dir, keys).items() if value != ":"}


def _sorted(postfix: PostfixSettings | None) -> object:
    if postfix is None:
        return None
    services = sorted(postfix.services)
    policy_maps = sorted(postfix.policy_maps.items())
    return postfix.default_database_type, postfix.rewriting, services, policy_maps, postfix.fingerprint_digest
