"""Gather what a generation depends on beside the lists: the configuration, Postfix's own settings, the Public Suffix
List, the administrator's own rows for Sendmail.
"""

import hashlib
from dataclasses import dataclass

from closedmail import __version__
from closedmail.core.model import Config, Rewriting
from closedmail.core.rule import rules_of
from closedmail.errors import ConfigError, Refused
from closedmail.lists.obtain import key_file_digest
from closedmail.lists.suffix_file import load_suffixes
from closedmail.mailertable.admission import Admission
from closedmail.maps.local_rows_file import LocalRows, read_local_rows
from closedmail.maps.unusual_spellings import unusual_table
from closedmail.mta.postfix_settings import PostfixSettings, read_settings
from closedmail.mta.recipient_guard import lacks_guard
from closedmail.programs import ProgramError
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

    @property
    def rewriting(self) -> Rewriting:
        """The settings by which Postfix completes senders."""
        return self.postfix.rewriting if self.postfix else Rewriting()

    @property
    def lacks_guard(self) -> bool:
        """Whether Postfix reads our routes, and not the table that refuses unusual spellings of recipients."""
        maps = self.config.postfix
        return maps is not None and self.postfix is not None and lacks_guard(self.postfix.transport_maps, maps)

    @property
    def map_type(self) -> str:
        """The type of Postfix's maps."""
        asked = self.config.postfix.map_type if self.config.postfix else ""
        return asked or (self.postfix.default_database_type if self.postfix else "")


def gather(config: Config) -> Inputs:
    """Read everything. Raises ConfigError, and Refused(publish-failed) when postconf fails."""
    local_rows = _gather_sendmail(config)
    suffixes, suffix_digest = load_suffixes()
    key_digests = {network.name: key_file_digest(network) for network in config.networks}
    try:
        postfix = read_settings(config.postfix.config_directory) if config.postfix else None
    except ProgramError as error:
        raise Refused("publish-failed", str(error)) from None
    rules = rules_digest(config)
    seed = "\n".join((__version__, rules, repr(_sorted(postfix)), suffix_digest, repr(local_rows)))
    if postfix:
        seed += f"\n{unusual_table()!r}"
    digest = hashlib.sha256(seed.encode()).hexdigest()
    return Inputs(config, admission_of(config, suffixes), postfix, rules, digest, key_digests, local_rows)


def check_services(inputs: Inputs) -> None:
    """Raise Refused(publish-failed) for an `outbound.transport` that master.cf does not have."""
    if inputs.postfix is None:
        return
    for rule in rules_of(inputs.config):
        if rule.outbound and rule.outbound.transport not in inputs.postfix.services:
            raise Refused(
                "publish-failed",
                f"{rule.table}.outbound.transport: master.cf has no unix service {rule.outbound.transport!r}; add it, "
                "see postfix-examples",
            )


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


def _sorted(postfix: PostfixSettings | None) -> object:
    if postfix is None:
        return None
    services = sorted(postfix.services)
    return postfix.default_database_type, postfix.rewriting, services, postfix.fingerprint_digest
