"""Define a Postfix's configuration, as postconf(1) shows it."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from closedmail.core.model import PostfixMaps
from closedmail.core.where import split_service
from closedmail.mta.restrictions import split_list


@dataclass(frozen=True, slots=True)
class Service:
    """One entry of master.cf. `options` are its own -o settings as written there.

    `values` are all settings as it sees them, with `$name` expanded; `fields` what stands between type and command.
    """

    name: str
    type: str
    chroot: bool
    command: str
    options: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name for postconf -P and -F."""
        return f"{self.name}/{self.type}"

    @property
    def on_loopback(self) -> bool:
        """Whether nobody but this machine can connect."""
        if self.type != "inet":
            return False
        host, _ = split_service(self.name)
        hosts = [host] if host else split_list(self.values.get("inet_interfaces", "all"))
        return all(map(is_loopback, hosts)) if hosts else False

    def get(self, name: str) -> str:
        """Return a setting as the service sees it."""
        return self.values.get(name, "")


@dataclass(frozen=True, slots=True)
class PostfixConfig:
    """One Postfix. `main` are all its parameters with `$name` expanded, `raw` those of main.cf as written there."""

    version: tuple[int, ...]
    main: Mapping[str, str]
    raw: Mapping[str, str]
    services: tuple[Service, ...]
    directory: str = PostfixMaps().config_directory

    @property
    def listeners(self) -> list[Service]:
        """The services that take in mail by SMTP."""
        return [service for service in self.services if service.command == "smtpd"]

    @property
    def classes(self) -> dict[str, str]:
        """Restriction classes and what they stand for."""
        names = split_list(self.main.get("smtpd_restriction_classes", ""))
        return {name: self.main.get(name, "") for name in names}

    def service(self, name: str, kind: str = "unix") -> Service | None:
        """Find an entry of master.cf."""
        return next((item for item in self.services if (item.name, item.type) == (name, kind)), None)


def is_yes(value: str) -> bool:
    """Check whether a boolean parameter is on. Any case counts (mail_conf_bool.c)."""
    return value.lower() == "yes"


def is_no(value: str) -> bool:
    """Check whether a boolean parameter is off, in any case; what is neither ends Postfix's programs."""
    return value.lower() == "no"


def is_loopback(host: str) -> bool:
    """Check whether a host, as Postfix's settings name it, is this machine's loopback."""
    if host in ("localhost", "loopback-only"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
