"""Parse the settings by which Postfix looks up routes and TLS policies: tables in their order, ours among them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from closedmail.maps.unusual_spellings import TABLE
from closedmail.mta.map_types import tables_in
from closedmail.mta.restrictions import split_list

# What `lookup_chain` needs of main.cf.
CHAIN_NAMES = (
    "default_transport",
    "parent_domain_matches_subdomains",
    "recipient_delimiter",
    "relayhost",
    "rewrite_service_name",
    "smtp_tls_policy_maps",
    "smtp_tls_security_level",
    "transport_maps",
)
# Tables that are asked about whole addresses only, never about domains (DICT_FLAG_PATTERN).
_PATTERNS = re.compile(r"\b(?:regexp|pcre|cidr):")
_SILENT = ("error", "retry", "discard")


@dataclass(frozen=True, slots=True)
class TableList:
    """A list of tables: those before ours, those after it, and the file names of ours among them, if any."""

    front: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The TLS policy tables of one delivery service, and the level where none of them has a row."""

    tables: TableList = TableList()
    level: str = "none"


@dataclass(frozen=True, slots=True)
class LookupChain:
    """How Postfix finds a recipient's route, and a nexthop's TLS policy. `tls` is by service, "" for all others."""

    transport: TableList = TableList()
    parents_match: bool = False
    delimiter: str = ""
    default_transport: str = "smtp"
    relayhost: str = ""
    tls: Mapping[str, TlsSettings] = field(default_factory=dict)

    def tls_of(self, service: str) -> TlsSettings:
        """Return the settings of a delivery service."""
        return self.tls.get(service) or self.tls.get("") or TlsSettings()

    def own_tables(self) -> frozenset[str]:
        """Return all tables that are not ours."""
        lists = (self.transport, *(settings.tables for settings in self.tls.values()))
        return frozenset(table for each in lists for table in (*each.front, *each.behind))

    def delivery(self, value: str, domain: str) -> tuple[str, tuple[str, ...]]:
        """Return the service and nexthops that the value of a transport row means for a domain of no class of ours.

        No nexthops for a service that delivers nothing. Source: update_entry() of transport.c.
        """
        channel, _, nexthop = value.strip().partition(":")
        usual, _, target = self.default_transport.partition(":")
        if not channel:
            channel, nexthop = usual, nexthop or target or self.relayhost
        if channel in _SILENT:
            return channel, ()
        return channel, tuple(filter(None, re.split(r"[\s,]+", nexthop or domain)))


def lookup_chain(main: Mapping[str, str], options: Mapping[str, Mapping[str, str]], map_dir: str) -> LookupChain:
    """Make the chain from main.cf's settings and from the `-o` of master.cf's services, by `name/type`."""
    own = options.get(f"{main.get('rewrite_service_name') or 'rewrite'}/unix", {})
    seen = {**main, **own}
    services = {key.removesuffix("/unix"): item for key, item in options.items() if key.endswith("/unix")}
    return LookupChain(
        split_tables(seen.get("transport_maps", ""), f"{map_dir.rstrip('/')}/transport"),
        "transport_maps" in split_list(seen.get("parent_domain_matches_subdomains", "")),
        seen.get("recipient_delimiter", ""),
        seen.get("default_transport", "") or "smtp",
        seen.get("relayhost", ""),
        {"": _tls(main, map_dir), **{name: _tls({**main, **item}, map_dir) for name, item in services.items()}},
    )


def split_tables(value: str, ours_begin: str) -> TableList:
    """Split a list of tables at ours, whose paths begin so. What refuses unusual spellings is in neither part."""
    guard = f"regexp:{ours_begin.rpartition('/')[0]}/{TABLE}"
    items = [item for item in split_list(value) if item != guard]
    folder = ours_begin.rpartition("/")[0]
    named = [
        [path.removeprefix(f"{folder}/") for _, path in tables_in([item]) if path.startswith(ours_begin)]
        for item in items
    ]
    first = next((at for at, names in enumerate(named) if names), len(items))
    others = [(at, item) for at, item in enumerate(items) if not named[at]]
    return TableList(
        tuple(item for at, item in others if at < first),
        tuple(item for at, item in others if at > first),
        tuple(dict.fromkeys(name for names in named for name in names)),
    )


def is_pattern(table: str) -> bool:
    """Check whether Postfix asks a table about whole addresses only."""
    return bool(_PATTERNS.search(table))


def _tls(seen: Mapping[str, str], map_dir: str) -> TlsSettings:
    tables = split_tables(seen.get("smtp_tls_policy_maps", ""), f"{map_dir.rstrip('/')}/tls_policy")
    return TlsSettings(tables, seen.get("smtp_tls_security_level", "") or "none")
