"""Define a gateway with Postfix, as its checks see it: its configuration, its Postfix, and its machine."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from closedmail.core.model import Config, PostfixMaps
from closedmail.core.rule import Rule
from closedmail.doctor.finding import Fix
from closedmail.maps.own_rows import OwnRows
from closedmail.mta.map_types import MapTypes, choose_types, tables_in
from closedmail.mta.postfix_config import PostfixConfig, Service, is_yes

# The restrictions that must have the check.
CHECK_LISTS = ("smtpd_sender_restrictions", "smtpd_data_restrictions")


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter where it is set: in main.cf, or (`service`) among the -o of an entry of master.cf."""

    postfix: PostfixConfig
    name: str
    service: Service | None = None

    def __str__(self) -> str:
        return f"{self.name} of {self.service.key} in master.cf" if self.service else self.name

    @property
    def raw(self) -> str:
        """The text there; for a parameter that nobody set, its default."""
        if self.service:
            return self.service.options[self.name]
        return self.postfix.raw.get(self.name, self.postfix.main.get(self.name, ""))

    @property
    def value(self) -> str:
        """The same with `$name` expanded."""
        return self.service.get(self.name) if self.service else self.postfix.main.get(self.name, "")

    def set(self, value: str) -> tuple[Fix, ...]:
        """Make the command that sets it; () where postconf -P can't, which takes no white space."""
        if not self.service:
            return (Fix.postconf(self.postfix.directory, "-e", f"{self.name} = {value}".rstrip()),)
        spelled = re.sub(r"\s*,\s*|\s+", ",", value.strip())
        if re.search(r"[{}]", spelled):
            return ()
        return (Fix.postconf(self.postfix.directory, "-P", f"{self.service.key}/{self.name}={spelled}"),)


def setting_of(postfix: PostfixConfig, service: Service | None, name: str) -> Setting:
    """Find where a parameter is set for a service."""
    return Setting(postfix, name, service if service and name in service.options else None)


def settings_of(postfix: PostfixConfig, services: list[Service], *names: str) -> Iterator[Setting]:
    """Find each place that sets one of the parameters for these services, once."""
    seen = set()
    for name in names:
        for service in services:
            setting = setting_of(postfix, service, name)
            key = (name, setting.service.key if setting.service else "")
            if key not in seen:
                seen.add(key)
                yield setting


@dataclass(frozen=True, slots=True)
class FileState:
    """A file or folder: its kind ("" if missing), and how many certificates are in it.

    It also has the path whose mode or owner stops the user postfix ("" where none does).
    """

    kind: str = ""
    stopped_at: str = ""
    certificates: int = 0


class PostfixLookups(Protocol):
    """The look-ups that need the machine itself."""

    def file(self, path: str) -> FileState:
        """Inspect a file as the user postfix sees it."""

    def table(self, table: str) -> Mapping[str, str] | None:
        """Read the rows of a table (`hash:/etc/postfix/x`, or the path of a list); None where that is impossible."""

    def answers(self, where: str) -> bool:
        """Check whether our policy service answers there (`unix:/PATH`, `inet:HOST:PORT`)."""

    def stranger(self, where: str) -> str:
        """Name the user who listens there in its place, "" for none."""


@dataclass(frozen=True, slots=True)
class PostfixFacts:
    """A gateway: its configuration, its Postfix, its machine, and the keys of all partners, with those of the list.

    `own_rows` are rows of the administrator's that stand in front of ours.
    """

    config: Config
    rules: tuple[Rule, ...]
    postfix: PostfixConfig
    machine: PostfixLookups
    partner_keys: frozenset[str] = frozenset()
    own_rows: OwnRows = field(default_factory=OwnRows)

    @property
    def active(self) -> list[Rule]:
        """Rules that demand anything of mail."""
        return [rule for rule in self.rules if rule.inbound.mode != "off"]

    @property
    def guarded(self) -> list[Service]:
        """The listeners that must have the check: all but those that take mail back from a content filter."""
        return [service for service in self.postfix.listeners if not self.takes_back(service)]

    @property
    def closed_services(self) -> list[Service]:
        """The entries of master.cf that deliver to partners."""
        names = dict.fromkeys(rule.outbound.transport for rule in self.rules if rule.outbound)
        return [service for name in names if (service := self.postfix.service(name))]

    @property
    def shared_services(self) -> list[Service]:
        """Those that are not a network's own: their TLS policies are in the table that all of them share."""
        own = {rule.outbound.transport for rule in self.rules if rule.outbound and rule.outbound.own_service}
        return [service for service in self.closed_services if service.name not in own]

    @property
    def map_types(self) -> MapTypes:
        """The types of our maps, as sync chooses them."""
        maps, main = self.config.postfix or PostfixMaps(), self.postfix.main
        values = [main[name] for name in self.postfix.raw if name in main]
        values += [item.get(name) for item in self.postfix.services for name in item.options]
        return choose_types(maps.map_type, main.get("default_database_type", ""), tables_in(values), maps.map_dir)

    def postconf(self, *arguments: str) -> Fix:
        """Make a change of this Postfix's configuration."""
        return Fix.postconf(self.postfix.directory, *arguments)

    def takes_back(self, service: Service) -> bool:
        """Check whether mail comes back here that another listener has checked and given to a content filter.

        Such a listener has no filter of its own, is on loopback or has no restrictions on purpose, and a filter is in
        use or XFORWARD is allowed.
        """
        blank = all(name in service.options and not service.get(name) for name in CHECK_LISTS)
        return (service.on_loopback or blank) and self._after_filter(service)

    def _after_filter(self, service: Service) -> bool:
        if _filter_of(service):
            return False
        others = [item for item in self.postfix.listeners if item is not service]
        filtered = any(map(_filter_of, others))
        own = {"content_filter", "smtpd_proxy_filter"} & service.options.keys()
        xforward = "smtpd_authorized_xforward_hosts" in service.options
        if is_yes(service.get("smtpd_sasl_auth_enable")) and "smtpd_sasl_auth_enable" in service.options:
            return False
        return (filtered and bool(own or service.on_loopback)) or xforward


def _filter_of(service: Service) -> str:
    return service.get("content_filter") or service.get("smtpd_proxy_filter")
