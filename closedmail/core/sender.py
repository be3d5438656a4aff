"""The envelope sender as it will be queued: what Postfix asks about is not always what it writes.

Postfix asks with the address as smtpd(8) understood it, without quotes. Before it queues the mail, cleanup(8) quotes
the local part again (everything before the last `@`) and lets trivial-rewrite(8) complete the address: an address
without `@` is `domain!user` (`swap_bangpath`), else `user%domain` (`allow_percent_hack`), else `user@myorigin`; a
domain without a dot gets `.mydomain` (`append_dot_mydomain`); a trailing dot goes. A source route (`@x:`) in front goes
too. The domain is not quoted again, but read as RFC 822 text: its quotes, comments, backslashes and white space go, so
that `"u@p.example "` is queued as `u@p.example`. Source: rewrite_tree() in Postfix's src/trivial-rewrite/rewrite.c,
quote_822_local.c and tok822_parse.c.
"""

import re
import unicodedata

import idna

from closedmail.core.model import Rewriting

# What does not stay as it is when a domain is read as RFC 822 text (tok822_parse.c).
_SPECIAL = re.compile(r'[\s"\\()]')
# What nearly every sender looks like: nothing in it changes, whatever the settings.
_PLAIN = re.compile(r"[A-Za-z0-9._+=-]+@([A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)+)")
# More characters than octets in a label: whatever becomes of it is no domain name (RFC 1035 section 2.3.4).
_LONGEST_LABEL = 63
# Postfix reads no longer line (line_length_limit), so that a longer sender is not from Postfix.
_LONGEST_SENDER = 2048


class SenderError(ValueError):
    """Nobody can say whose sender it is: its domain is not UTF-8, or it is longer than any address."""


def queued_domains(sender: str, rewriting: Rewriting) -> tuple[str, ...]:
    """The domains that a sender may have when it is queued, as A-labels, the likeliest first; () where it has none.

    `sender` is the policy attribute, decoded as UTF-8 with surrogates for bytes that are not. More than one domain
    means that it can't be told which (the attribute has lost its quotes), and a partner's counts. Raises SenderError.
    """
    plain = _PLAIN.fullmatch(sender)
    if plain:
        return (plain[1].lower(),)
    if len(sender) > _LONGEST_SENDER:
        raise SenderError(f"the sender has more than {_LONGEST_SENDER} characters")
    if sender.startswith("@") and ":" in sender:
        sender = sender.partition(":")[2]
    _, at, domain = sender.rpartition("@")
    if at:
        return _canonical((domain,), rewriting)
    candidates = []
    if rewriting.swap_bangpath and "!" in domain:
        candidates.append(domain.partition("!")[0])
    elif rewriting.allow_percent_hack and "%" in domain:
        candidates.append(domain.rpartition("%")[2])
    # With blanks or specials the address was quoted, and is completed after all: both can come true.
    if rewriting.append_at_myorigin and rewriting.myorigin and (not candidates or not _is_dot_string(domain)):
        candidates.append(rewriting.myorigin)
    return _canonical(tuple(candidates), rewriting)


def _canonical(domains: tuple[str, ...], rewriting: Rewriting) -> tuple[str, ...]:
    return tuple(name for name in (_complete(domain, rewriting) for domain in domains) if name)


def _complete(domain: str, rewriting: Rewriting) -> str:
    if _SPECIAL.search(domain):
        domain = _read(domain)
    domain = domain.lower() if domain.isascii() else to_ascii_leniently(domain)
    if domain and "." not in domain and "[" not in domain and rewriting.append_dot_mydomain and rewriting.mydomain:
        domain = f"{domain}.{rewriting.mydomain.lower()}"
    return domain.rstrip(".")


def _read(domain: str) -> str:
    """A domain as it is after it was read as RFC 822 text: without comments, quotes, backslashes and white space."""
    kept: list[str] = []
    depth, quoted, chars = 0, False, iter(domain)
    for char in chars:
        if char == "\\":
            escaped = next(chars, "")
            kept.append("" if depth else escaped)
        elif depth:
            depth += (char == "(") - (char == ")")
        elif char == '"':
            quoted = not quoted
        elif char == "(" and not quoted:
            depth = 1
        else:
            kept.append(char)
    return "".join("".join(kept).split())


def to_ascii_leniently(domain: str) -> str:
    """A-labels of a domain that somebody else spelled: mapped as far as it goes, never refused.

    Unlike `domain.parse_name` it has to name what a later hop might make of the spelling, valid or not. Raises
    SenderError for surrogates (bytes that were not UTF-8).
    """
    if any("\ud800" <= char <= "\udfff" for char in domain):
        raise SenderError("the sender's domain is not UTF-8")
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False, transitional=False)
    except idna.IDNAError:
        mapped = unicodedata.normalize("NFKC", domain).casefold()
    return ".".join(map(_alabel, mapped.replace("\u3002", ".").split("."))).lower()


def _alabel(label: str) -> str:
    if label.isascii():
        return label
    if len(label) > _LONGEST_LABEL:
        return "xn--"  # no domain has such a label, and punycode takes quadratic time for it
    try:
        return idna.alabel(label).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return "xn--" + label.encode("punycode").decode("ascii")


def _is_dot_string(local: str) -> bool:
    """Whether a local part needs no quotes (RFC 5321 Dot-string), as is_822_dot_string() in quote_822_local.c."""
    if not local or local.startswith(".") or local.endswith(".") or ".." in local:
        return False
    return not any(char <= " " or char == "\x7f" or char in '()<>@,;:\\"[]' for char in local)
