"""Say for how long TLS rows outlive their routes."""

from closedmail.core.model import PostfixMaps

# Seconds. The TLS policy is switched first, and Postfix goes on using the old routes for up to ten seconds: a row must
# outlive its routes whatever `tls_linger` says.
_LEAST_LINGER = 60
SENDMAIL_LINGER = 86400  # seconds: a delivery that has looked its routes up takes hours, where hosts don't answer


def postfix_linger(postfix: PostfixMaps | None) -> int:
    """Return for how many seconds rows of Postfix's TLS policy stay."""
    return max(_LEAST_LINGER, postfix.tls_linger) if postfix else 0


def longest_linger(postfix: PostfixMaps | None) -> int:
    """Return for how many seconds TLS rows of any MTA may stay."""
    return max(postfix_linger(postfix), SENDMAIL_LINGER)
