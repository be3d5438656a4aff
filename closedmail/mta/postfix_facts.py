"""What Postfix says of itself (postconf(1)), and the commands that change it."""

import ipaddress
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from closedmail.core.model import Config
from closedmail.core.rule import Rule
from closedmail.core.where import split_service
from closedmail.mta.restrictions import split_list

# The restrictions that must have the check.
CHECK_LISTS = ("smtpd_sender_restrictions", "smtpd_data_restrictions")
DEFAULT_DIRECTORY = "/etc/postfix"


@dataclass(frozen=True, slots=True)
class Service:
    """One entry of master.cf. `options` are its own -o settings as they stand there, `values` all settings as it sees
    them, with `$name` expanded."""

    name: str
    type: str
    chroot: bool
    command: str
    options: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """How postconf -P and -F call it."""
        return f"{self.name}/{self.type}"

    @property
    def on_loopback(self) -> bool:
        """Whether nobody but this machine can connect."""
        if self.type != "inet":
            return False
        host, _ = split_service(self.name)
        hosts = [host] if host else split_list(self.values.get("inet_interfaces", "all"))
        return all(map(_is_loopback, hosts)) if hosts else False

    def get(self, name: str) -> str:
        """A setting as it sees it."""
        return self.values.get(name, "")


@dataclass(frozen=True, slots=True)
class PostfixFacts:
    """A Postfix. `main` are all its parameters with `$name` expanded, `raw` those of main.cf as they stand there."""

    version: tuple[int, ...]
    main: Mapping[str, str]
    raw: Mapping[str, str]
    services: tuple[Service, ...]
    directory: str = DEFAULT_DIRECTORY

    @property
    def listeners(self) -> list[Service]:
        """Where mail comes in by SMTP."""
        return [service for service in self.services if service.command == "smtpd"]

    @property
    def classes(self) -> dict[str, str]:
        """Restriction classes and what they stand for."""
        names = split_list(self.main.get("smtpd_restriction_classes", ""))
        return {name: self.main.get(name, "") for name in names}

    def service(self, name: str, kind: str = "unix") -> Service | None:
        """An entry of master.cf."""
        return next((item for item in self.services if (item.name, item.type) == (name, kind)), None)

    def postconf(self, *arguments: str) -> str:
        """A postconf command as one writes it in a shell."""
        where = () if self.directory == DEFAULT_DIRECTORY else ("-c", self.directory)
        return shlex.join(("postconf", *where, *arguments))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting stands: in main.cf, or (`service`) among the -o of an entry of master.cf."""

    facts: PostfixFacts
    name: str
    service: Service | None = None

    def __str__(self) -> str:
        return f"{self.name} of {self.service.key} in master.cf" if self.service else self.name

    @property
    def raw(self) -> str:
        """What stands there; for a parameter that nobody set, its default."""
        if self.service:
            return self.service.options[self.name]
        return self.facts.raw.get(self.name, self.facts.main.get(self.name, ""))

    @property
    def value(self) -> str:
        """The same with `$name` expanded."""
        return self.service.get(self.name) if self.service else self.facts.main.get(self.name, "")

    def set(self, value: str) -> tuple[str, ...]:
        """The command that sets it; () where postconf -P can't, which takes no white space."""
        if not self.service:
            return (self.facts.postconf("-e", f"{self.name} = {value}".rstrip()),)
        spelled = re.sub(r"\s*,\s*|\s+", ",", value.strip())
        if re.search(r"[{}]", spelled):
            return ()
        return (self.facts.postconf("-P", f"{self.service.key}/{self.name}={spelled}"),)


def place_of(facts: PostfixFacts, service: Service | None, name: str) -> Place:
    """Where a service has a setting from."""
    return Place(facts, name, service if service and name in service.options else None)


def places(facts: PostfixFacts, services: list[Service], *names: str) -> Iterator[Place]:
    """Each place that these services have one of the settings from, once."""
    seen = set()
    for name in names:
        for service in services:
            place = place_of(facts, service, name)
            key = (name, place.service.key if place.service else "")
            if key not in seen:
                seen.add(key)
                yield place


@dataclass(frozen=True, slots=True)
class FileState:
    """A file or folder: what it is ("" for nothing), what stops the user postfix ("" for nothing: the path whose mode
    or owner does), and how many certificates are in it."""

    kind: str = ""
    stopped_at: str = ""
    certificates: int = 0


class Machine(Protocol):
    """What has to be looked at on the machine itself."""

    def file(self, path: str) -> FileState:
        """A file as the user postfix sees it."""

    def table(self, table: str) -> Mapping[str, str] | None:
        """The rows of a table (`hash:/etc/postfix/x`, or the path of a list); None where they can't be read."""

    def answers(self, where: str) -> bool:
        """Whether a policy service answers there (`unix:/PATH`, `inet:HOST:PORT`)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A gateway: its configuration, its Postfix, its machine, and the keys of all partners, those of the list in force
    among them."""

    config: Config
    rules: tuple[Rule, ...]
    postfix: PostfixFacts
    machine: Machine
    partner_keys: frozenset[str] = frozenset()

    @property
    def active(self) -> list[Rule]:
        """Rules that ask anything of mail."""
        return [rule for rule in self.rules if rule.inbound.mode != "off"]

    @property
    def map_type(self) -> str:
        """The type of our maps."""
        asked = self.config.postfix.map_type if self.config.postfix else ""
        return asked or self.postfix.main.get("default_database_type", "")

    @property
    def guarded(self) -> list[Service]:
        """The listeners that must have the check: all but those that take mail back from a content filter."""
        return [service for service in self.postfix.listeners if not self.takes_back(service)]

    def takes_back(self, service: Service) -> bool:
        """Whether mail comes back here that another listener has checked and given to a content filter: it has no
        filter of its own, is on loopback or has no restrictions on purpose, and a filter is in use or XFORWARD is
        allowed."""
        blank = all(name in service.options and not service.get(name) for name in CHECK_LISTS)
        return (service.on_loopback or blank) and self._after_filter(service)

    def _after_filter(self, service: Service) -> bool:
        if _filter_of(service):
            return False
        others = [item for item in self.postfix.listeners if item is not service]
        filtered = any(map(_filter_of, others))
        own = {"content_filter", "smtpd_proxy_filter"} & service.options.keys()
        xforward = "smtpd_authorized_xforward_hosts" in service.options
        if service.get("smtpd_sasl_auth_enable") == "yes" and "smtpd_sasl_auth_enable" in service.options:
            return False
        return (filtered and bool(own or service.on_loopback)) or xforward


def _filter_of(service: Service) -> str:
    return service.get("content_filter") or service.get("smtpd_proxy_filter")


def _is_loopback(host: str) -> bool:
    if host in ("localhost", "loopback-only"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
