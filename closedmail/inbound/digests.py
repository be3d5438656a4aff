"""Name the digests of certificates, recognised by their length: fingerprints of different ones never match."""

from collections.abc import Iterable, Iterator

from closedmail.core.rule import Rule

# Hex digits of what smtpd_tls_fingerprint_digest of postconf(5) may name.
_HEX_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_NAMES = {32: "MD5", 40: "SHA-1", 56: "SHA-224", 64: "SHA-256", 96: "SHA-384", 128: "SHA-512"}
LENGTHS = frozenset(_NAMES)  # hex digits of the fingerprints that an MTA sends


def digest_name(length: int) -> str:
    """Name the digest that makes a fingerprint of so many hex digits."""
    return _NAMES.get(length, f"{length // 2}-byte")


def digest_length(name: str) -> int:
    """Return the hex digits of a digest's fingerprints, by its name in postconf(5); 0 for one that is not known."""
    return _HEX_DIGITS.get(name.lower().replace("-", ""), 0)


def incomparable(rules: Iterable[Rule], digest: str, sync: str) -> Iterator[str]:
    """Write a sentence for each configured fingerprint that can't match one that Postfix makes with that digest.

    `sync` is the command that it proposes.
    """
    sent = digest_length(digest)
    if not sent:
        return
    named = set()
    for rule in rules:
        if rule.inbound.mode == "off":
            continue
        for at, pin in enumerate(rule.inbound.certificates):
            for name, value in (("fingerprint", pin.fingerprint), ("pubkey_fingerprint", pin.pubkey_fingerprint)):
                # A partner's table that inherits its network's certificates has nothing of its own to fix.
                if value and len(value) != sent and (rule.network, value) not in named:
                    named.add((rule.network, value))
                    yield (
                        f"{rule.table}.inbound.certificates[{at}].{name} is {digest_name(len(value))}, but Postfix "
                        f"makes {digest_name(sent)} fingerprints, which never match it; {_remedy(len(value), sync)}"
                    )


def _remedy(length: int, sync: str) -> str:
    if length == _HEX_DIGITS["sha256"]:
        return f"set smtpd_tls_fingerprint_digest = sha256 in main.cf, reload Postfix and run: {sync}"
    return "write the fingerprint in SHA-256, and set smtpd_tls_fingerprint_digest = sha256 in main.cf"
