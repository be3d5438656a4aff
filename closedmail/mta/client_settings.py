"""Define the settings by which an MTA delivers, as far as another SMTP client needs them to do the same."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from closedmail.core.model import Families


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """One delivery service. Files are paths, "" for none; `chains` are client certificates as (certificates, key).

    `protocols` and `ciphers` are for levels that demand TLS, `may_…` for level may; `grades` are OpenSSL's lists by
    Postfix's names. `server_name` is smtp_tls_servername. `looks_up_mx` is true if names without brackets are
    expanded to MX hosts, `dnssec` if names are looked up with DNSSEC, `insecure_mx` is
    smtp_tls_dane_insecure_mx_policy; `least_bits` is what Sendmail's ENCR asks of a cipher.
    """

    helo: str
    mta: Literal["Postfix", "Sendmail"] = "Postfix"
    ca_file: str = ""
    ca_path: str = ""
    default_authorities: bool = False
    chains: tuple[tuple[str, str], ...] = ()
    protocols: str = ""
    may_protocols: str = ""
    ciphers: str = "medium"
    may_ciphers: str = "medium"
    excluded: str = ""
    may_excluded: str = ""
    grades: Mapping[str, str] = field(default_factory=dict)
    digest: str = "sha256"
    verify_match: tuple[str, ...] = ("hostname",)
    secure_match: tuple[str, ...] = ("nexthop", "dot-nexthop")
    server_name: str = ""
    bind_address: str = ""
    bind_address6: str = ""
    families: Families = "all"
    looks_up_mx: bool = True
    dnssec: bool = False
    insecure_mx: str = "may"
    wrapped: bool = False
    least_bits: int = 0


def families_of(text: str) -> Families:
    """Parse the value of inet_protocols (postconf(5)): "all" where it names both versions, or is not understood."""
    named = set(re.split(r"[\s,]+", text.strip(" ,\t")))
    return next((one for one in get_args(Families) if named == {one}), "all")
