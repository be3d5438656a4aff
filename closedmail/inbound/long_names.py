"""Cut names that are too long for the DNS to what may still count, before anything is mapped: mapping is what costs."""

import re
import unicodedata

from closedmail.core.domain import MAX_NAME
from closedmail.inbound.odd_characters import is_unseen

# More characters than octets in a label: no mapping of it is a domain name (RFC 1035 section 2.3.4).
LONGEST_LABEL = 63
NO_LABEL = "xn--"  # stands for a label that no domain has; punycode would take quadratic time for it
# A name of more characters is none, however it is composed.
_LONGEST_DECOMPOSED = 4 * MAX_NAME
_DOT = re.compile("[.\u3002\uff0e\uff61]")  # all that UTS 46 maps to a dot


def shortened(domain: str) -> str:
    """Cut a domain that is too long for a name to what may still count: its last labels, where these may be labels.

    What nobody sees makes no name too long, and whatever stands in front of `.x` belongs to the owner of `.x`.
    """
    if len(domain) <= MAX_NAME:
        return domain
    domain = "".join(char for char in domain if not is_unseen(char))
    if len(domain) <= _LONGEST_DECOMPOSED:
        domain = unicodedata.normalize("NFC", domain)
    kept: list[str] = []
    length = 0
    for label in reversed(_DOT.split(domain)):
        kept.append(label if len(label) <= LONGEST_LABEL else NO_LABEL)
        length += len(kept[-1]) + 1
        if length > MAX_NAME:
            kept[-1] = NO_LABEL
            break
    return ".".join(reversed(kept))
