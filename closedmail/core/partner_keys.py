"""Compare the keys of all partners with the domains that an MTA takes for its own or relays for."""

import re
from collections.abc import Iterable

from closedmail.core.domain import DomainError, DomainSet, parents, parse_key
from closedmail.core.model import Config

_LOCAL = re.compile(r"(.+\.)?(localhost|localdomain)|ip6-.*")


def configured_keys(config: Config) -> set[str]:
    """Return the partners that the configuration itself names, without any list: its tables, and closed domains."""
    keys = {partner.key for partner in config.partners}
    for network in config.networks:
        for domain in network.closed_domains:
            keys |= {domain, f".{domain}"}
    return keys


def domain_key(text: str) -> str:
    """Parse a domain of an MTA's list; "" for addresses, names of one label, and those of this machine."""
    try:
        key = parse_key(text.rstrip(".") if text != "." else text)
    except DomainError:
        return ""
    return key if "." in key.removeprefix(".") and not _LOCAL.fullmatch(key) else ""


class PartnerKeys:
    """The keys of all partners: those of the configuration and of the list in force."""

    def __init__(self, config: Config, keys: Iterable[str]) -> None:
        self.keys = frozenset(keys)
        self._own = DomainSet(config.gateway.own_domains)
        self._explicit = {partner.key for partner in config.partners}

    def partner_of(self, key: str) -> str:
        """Return the partner that a domain is or lies below, "" for none; own domains count only with a table."""
        if key in self.keys:
            return key if key in self._explicit or not self._own.covers(key) else ""
        if self._own.covers(key):
            return ""
        return next((f".{parent}" for parent in parents(key.removeprefix(".")) if f".{parent}" in self.keys), "")

    def is_own(self, key: str) -> bool:
        """Check whether `own_domains` covers it."""
        return self._own.covers(key)

    def below(self, names: set[str]) -> dict[str, str]:
        """Map the partners below such domains (`x` and `.x` stand for all below x), each to the nearest of them."""
        found = {}
        for key in self.keys:
            # An own name for all below it is no partner below itself.
            over = next((name for name in parents(key.removeprefix(".")) if {name, f".{name}"} & names), None)
            if over is not None and (key in self._explicit or not self._own.covers(key)):
                found[key] = over
        return found
