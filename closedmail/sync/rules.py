"""Find the rules in force: the configuration file's, or, after a rollback, those of an earlier generation.

Rules put back in force by `rollback` stay until the administrator changes the file's rules or runs `sync --force`.
Where lists come from, and who may sign them, is always the file's: trust is never rolled back.
"""

import hashlib
from dataclasses import replace

from closedmail.config import parse
from closedmail.core.model import Config, Gateway, Milter, Monitoring, Network, Policyd, Source
from closedmail.errors import ClosedmailError, ConfigError
from closedmail.store.archive import Archived
from closedmail.store.manifest import Manifest


def rules_digest(config: Config) -> str:
    """Digest what a generation takes from the configuration: not the daemons, the monitoring or paths."""
    mute = replace(config, policyd=Policyd(), milter=Milter(), monitoring=Monitoring())
    parts = replace(mute, path="", gateway=_gateway_rules(config))
    return _digest(parts)


def set_aside_digest(config: Config) -> str:
    """Digest the rules that a rollback sets aside: [gateway], [network], [partner]; of sources, how lists are read."""
    networks = [replace(network, source=None) for network in config.networks]
    formats = [(item.source.format, item.source.column) if item.source else None for item in config.networks]
    return _digest((_gateway_rules(config), networks, formats, config.partners))


def is_set_aside(file: Config, manifest: Manifest) -> bool:
    """Check whether the file's rules are still those that a rollback has set aside."""
    return bool(manifest.set_aside) and manifest.set_aside == set_aside_digest(file)


def set_aside_sentence(file: Config, manifest: Manifest) -> str:
    """Return the sentence that the file's rules are set aside, and how to end that."""
    return (
        f"the rules in force are those of generation {manifest.rules_of} (rollback), not those of the configuration "
        f"file; change the file, or put it in force with: {file.command('sync', '--force')}"
    )


def other_rules_note(file: Config, manifest: Manifest) -> str:
    """Return the note that the rules in force are not those of the file, and what to do; "" where they are.

    It goes with answers from the generation in force.
    """
    if is_set_aside(file, manifest):
        return set_aside_sentence(file, manifest)
    if manifest.rules_digest != rules_digest(file):
        number, sync = manifest.generation, file.command("sync")
        return f"the configuration file has changed since generation {number}; {sync} puts it in force"
    return ""


def archived_rules(archived: Archived, file: Config, generation: int) -> Config:
    """Parse the configuration of an earlier generation; paths, daemons and sources are those of today's file.

    Raises ClosedmailError where this program does not understand it any more.
    """
    try:
        kept = parse(archived.configuration, f"the configuration of generation {generation}")
    except ConfigError as error:
        raise ClosedmailError(
            f"the configuration of generation {generation} can't be used by this version ({error}); put the file's "
            f"rules in force with: {file.command('sync', '--force')}"
        ) from None
    gateway = replace(kept.gateway, state_dir=file.gateway.state_dir, keep_generations=file.gateway.keep_generations)
    sources = {network.name: network.source for network in file.networks}
    networks = tuple(_with_source(network, sources.get(network.name)) for network in kept.networks)
    return replace(file, gateway=gateway, networks=networks, partners=kept.partners, text=kept.text)


def _with_source(network: Network, todays: Source | None) -> Network:
    """Replace the source of a kept network by today's; its lists are read as they were then."""
    if network.source is None or todays is None:
        return network
    return replace(network, source=replace(todays, format=network.source.format, column=network.source.column))


def _gateway_rules(config: Config) -> Gateway:
    return replace(config.gateway, state_dir="", keep_generations=0)


def _digest(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
