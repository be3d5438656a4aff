"""Log certificates whose fingerprints can't be compared with those configured: the MTA uses another digest."""

from collections.abc import Callable

from closedmail.core.rule import Rule
from closedmail.inbound.digests import LENGTHS, digest_name
from closedmail.inbound.facts import ClientCertificate


class DigestWatch:
    """`count` is of certificates. A line is written once for each rule and digest that there is."""

    def __init__(self, write: Callable[[str], object]) -> None:
        """Start with no certificate. `write` takes log lines, newline included."""
        self.count = 0
        self._write = write
        self._logged: set[tuple[str, str, int]] = set()

    def note(self, rule: Rule, shown: ClientCertificate) -> None:
        """Check a certificate that did not satisfy its partner's rule."""
        size = len(shown.fingerprint or shown.pubkey_fingerprint or "")
        pins = rule.inbound.certificates
        configured = {len(digest) for pin in pins for digest in (pin.fingerprint, pin.pubkey_fingerprint) if digest}
        if size not in LENGTHS or not configured or size in configured:
            return
        self.count += 1
        mark = (rule.network, rule.partner, size)
        if mark not in self._logged:
            self._logged.add(mark)
            names = " and ".join(digest_name(length) for length in sorted(configured))
            self._write(
                f"warning: {rule.table}.inbound.certificates: the MTA sends {digest_name(size)} fingerprints, "
                f"those configured are {names}: none can match; see smtpd_tls_fingerprint_digest\n"
            )
