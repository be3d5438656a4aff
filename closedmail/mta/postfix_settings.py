"""Read the settings of Postfix that a generation depends on, through postconf(1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from closedmail.core.model import Families, Rewriting
from closedmail.mta.client_settings import families_of
from closedmail.mta.lookup_chain import CHAIN_NAMES, LookupChain, lookup_chain
from closedmail.mta.map_types import tables_in
from closedmail.mta.postconf import read_options, read_services, read_values, run_postfix
from closedmail.mta.postfix_config import is_yes

_FAMILIES = "inet_protocols"
_POLICY_MAPS = re.compile(r"smtp_tls_policy_maps\s*=\s*([^}]*?)\s*(?:}|\s-o\s|$)")


@dataclass(frozen=True, slots=True)
class PostfixSettings:
    """The settings. `services` are the delivery services of master.cf that a transport table may name.

    `fingerprint_digest` is the digest of smtpd's certificate fingerprints, "" where its listeners differ.
    `policy_maps` are the TLS policy tables of services that have their own (-o smtp_tls_policy_maps). `tables` are all
    tables that main.cf and master.cf name, as (type, path). `main` and `options` are what `lookup_chain` needs.
    `families` are main.cf's inet_protocols.
    """

    default_database_type: str
    rewriting: Rewriting
    services: frozenset[str]
    fingerprint_digest: str = ""
    policy_maps: Mapping[str, str] = field(default_factory=dict)
    tables: frozenset[tuple[str, str]] = frozenset()
    main: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    families: Families = "all"

    def families_of(self, service: str) -> Families:
        """Return the IP versions by which a delivery service reaches others."""
        own = self.options.get(f"{service}/unix", {}).get(_FAMILIES)
        return self.families if own is None else families_of(own)

    def reads(self, service: str, path: str) -> bool:
        """Check whether a service is there and takes its TLS policies from a table."""
        tables = re.split(r"[\s,]+", self.policy_maps.get(service, ""))
        return path in (table.removeprefix("proxy:").partition(":")[2] for table in tables)


def read_settings(config_directory: str) -> PostfixSettings:
    """Ask the Postfix with that configuration. Raises ProgramError."""
    # -x expands $name, as Postfix will when it uses the value.
    values = read_values(run_postfix("postconf", "-c", config_directory, "-x"))
    services, policy_maps, digest = set(), {}, values.get("smtpd_tls_fingerprint_digest", "")
    for entry in read_services(config_directory):
        if entry.type == "unix":
            services.add(entry.name)
            if found := _POLICY_MAPS.search(" ".join(entry.arguments)):
                policy_maps[entry.name] = found[1]
        if any("smtpd_tls_fingerprint_digest" in argument for argument in entry.arguments):
            digest = ""  # a listener has its own (-o), and which of them partners come to is not known here
    rewriting = Rewriting(
        swap_bangpath=is_yes(values.get("swap_bangpath", "")),
        allow_percent_hack=is_yes(values.get("allow_percent_hack", "")),
        append_at_myorigin=is_yes(values.get("append_at_myorigin", "")),
        myorigin=_origin(values.get("myorigin", "")),
        append_dot_mydomain=is_yes(values.get("append_dot_mydomain", "")),
        mydomain=values.get("mydomain", "").lower(),
    )
    options = read_options(run_postfix("postconf", "-c", config_directory, "-x", "-P"))
    return PostfixSettings(
        values.get("default_database_type", "hash"),
        rewriting,
        frozenset(services),
        digest,
        policy_maps,
        tables_in(value for settings in (values, *options.values()) for value in settings.values()),
        {name: values.get(name, "") for name in CHAIN_NAMES},
        options,
        families_of(values.get(_FAMILIES, "")),
    )


def read_map_types(config_directory: str) -> frozenset[str]:
    """Ask which types of tables that Postfix can read. Raises ProgramError."""
    return frozenset(run_postfix("postconf", "-c", config_directory, "-m").split())


def read_chain(config_directory: str, map_dir: str) -> LookupChain:
    """Ask how that Postfix looks up routes and TLS policies; ours lie in `map_dir`. Raises ProgramError."""
    main = read_values(run_postfix("postconf", "-c", config_directory, "-x", *CHAIN_NAMES))
    options = read_options(run_postfix("postconf", "-c", config_directory, "-x", "-P"))
    return lookup_chain(main, options, map_dir)


def _origin(value: str) -> str:
    """Return the name in `myorigin`: a path means the first line of that file, as /etc/mailname on Debian."""
    if value.startswith("/"):
        try:
            value = Path(value).read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
        except OSError:
            return ""
    return value.lower()
