"""Read the settings of Postfix's SMTP client, service by service: main.cf, and the `-o` of master.cf."""

import re
from collections.abc import Mapping

from closedmail.mta.client_settings import ClientSettings, families_of
from closedmail.mta.postconf import read_options, read_values, run_postfix
from closedmail.mta.postfix_config import is_yes
from closedmail.routes.tls_protocols import GRADES

_INSECURE_MX = "smtp_tls_dane_insecure_mx_policy"
_NAMES = (
    *(f"tls_{grade}_cipherlist" for grade in GRADES),
    "inet_protocols",
    "smtp_bind_address",
    "smtp_bind_address6",
    "smtp_dns_support_level",
    "smtp_helo_name",
    "smtp_host_lookup",
    "smtp_tls_CAfile",
    "smtp_tls_CApath",
    "smtp_tls_cert_file",
    "smtp_tls_chain_files",
    "smtp_tls_ciphers",
    _INSECURE_MX,
    "smtp_tls_eccert_file",
    "smtp_tls_eckey_file",
    "smtp_tls_exclude_ciphers",
    "smtp_tls_fingerprint_digest",
    "smtp_tls_key_file",
    "smtp_tls_mandatory_ciphers",
    "smtp_tls_mandatory_exclude_ciphers",
    "smtp_tls_mandatory_protocols",
    "smtp_tls_protocols",
    "smtp_tls_secure_cert_match",
    "smtp_tls_servername",
    "smtp_tls_verify_cert_match",
    "smtp_tls_wrappermode",
    "tls_append_default_CA",
)
_PAIRS = (("smtp_tls_cert_file", "smtp_tls_key_file"), ("smtp_tls_eccert_file", "smtp_tls_eckey_file"))


class PostfixClients:
    """The settings of all services of one Postfix."""

    def __init__(self, config_directory: str) -> None:
        """Ask postconf. Raises ProgramError where it can't answer."""
        # A Postfix that does not know one of the names reports it on stderr, and prints the others.
        self._main = read_values(run_postfix("postconf", "-c", config_directory, "-x", *_NAMES))
        self._services = read_options(run_postfix("postconf", "-c", config_directory, "-x", "-P"))
        for own in self._services.values():
            level = own.get("smtp_tls_security_level", "")
            if level.startswith("dane") and _INSECURE_MX not in own:  # its default depends on the level
                given = ("-o", f"smtp_tls_security_level={level}")
                own[_INSECURE_MX] = run_postfix(
                    "postconf", "-c", config_directory, "-h", "-x", *given, _INSECURE_MX
                ).strip()

    def settings(self, service: str) -> ClientSettings:
        """Return the settings of one delivery service of master.cf."""
        own = self._services.get(f"{service}/unix", {})
        return client_settings({**self._main, **own}, own)


def client_settings(values: Mapping[str, str], own: Mapping[str, str]) -> ClientSettings:
    """Make settings from Postfix's parameters; `own` are those that the service itself has."""

    def of(name: str) -> str:
        return values.get(name, "")

    return ClientSettings(
        helo=of("smtp_helo_name"),
        ca_file=of("smtp_tls_CAfile"),
        ca_path=of("smtp_tls_CApath"),
        default_authorities=is_yes(of("tls_append_default_CA")),
        chains=_chains(values, own),
        protocols=of("smtp_tls_mandatory_protocols"),
        may_protocols=of("smtp_tls_protocols"),
        ciphers=of("smtp_tls_mandatory_ciphers") or "medium",
        may_ciphers=of("smtp_tls_ciphers") or "medium",
        excluded=f"{of('smtp_tls_exclude_ciphers')} {of('smtp_tls_mandatory_exclude_ciphers')}",
        may_excluded=of("smtp_tls_exclude_ciphers"),
        grades={grade: of(f"tls_{grade}_cipherlist") for grade in GRADES if of(f"tls_{grade}_cipherlist")},
        digest=of("smtp_tls_fingerprint_digest") or "sha256",
        verify_match=_words(of("smtp_tls_verify_cert_match")),
        secure_match=_words(of("smtp_tls_secure_cert_match")),
        server_name=of("smtp_tls_servername"),
        bind_address=of("smtp_bind_address"),
        bind_address6=of("smtp_bind_address6"),
        families=families_of(of("inet_protocols")),
        looks_up_mx=of("smtp_dns_support_level") != "disabled" and "dns" in _words(of("smtp_host_lookup")),
        dnssec=of("smtp_dns_support_level") == "dnssec" and "dns" in _words(of("smtp_host_lookup")),
        insecure_mx=of(_INSECURE_MX) or "may",
        wrapped=is_yes(of("smtp_tls_wrappermode")),
    )


def _chains(values: Mapping[str, str], own: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """List certificates and their keys: smtp_tls_chain_files, which have both in one file, go before all others."""
    files = _words(values.get("smtp_tls_chain_files", ""))
    if files:
        return tuple((file, file) for file in files)
    found = []
    for certificate, key in _PAIRS:
        if values.get(certificate):
            # By default the key is where the certificate is; main.cf's key is not that of the service's certificate.
            inherited = certificate in own and key not in own
            found.append((values[certificate], "" if inherited else values.get(key, "")))
    return tuple((certificate, key or certificate) for certificate, key in found)


def _words(value: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[\s,:]+", value)))
