"""The envelope sender as it will be queued: what Postfix asks about is not always what it writes.

Postfix asks with the address as smtpd(8) understood it, without quotes. Before it queues the mail, cleanup(8) quotes
the local part again (everything before the last `@`) and lets trivial-rewrite(8) complete the address: an address
without `@` is `domain!user` (`swap_bangpath`), else `user%domain` (`allow_percent_hack`), else `user@myorigin`; a
domain without a dot gets `.mydomain` (`append_dot_mydomain`); a trailing dot goes. Source: rewrite_tree() in Postfix's
src/trivial-rewrite/rewrite.c, and quote_822_local.c.
"""

import unicodedata

import idna

from closedmail.core.model import Rewriting


class SenderError(ValueError):
    """The sender's domain is not UTF-8, so that nobody can say whose it is."""


def queued_domains(sender: str, rewriting: Rewriting) -> tuple[str, ...]:
    """The domains that a sender may have when it is queued, as A-labels, the likeliest first; () where it has none.

    `sender` is the policy attribute, decoded as UTF-8 with surrogates for bytes that are not. More than one domain
    means that it can't be told which (the attribute has lost its quotes), and a partner's counts. Raises SenderError.
    """
    _, at, domain = sender.rpartition("@")
    if at:
        return _canonical((domain,), rewriting)
    candidates = []
    if rewriting.swap_bangpath and "!" in domain:
        candidates.append(domain.partition("!")[0])
    if rewriting.allow_percent_hack and "%" in domain:
        candidates.append(domain.rpartition("%")[2])
    # With blanks or specials the address was quoted, and is completed after all: both can come true.
    if rewriting.append_at_myorigin and rewriting.myorigin and (not candidates or not _is_dot_string(domain)):
        candidates.append(rewriting.myorigin)
    return _canonical(tuple(candidates), rewriting)


def _canonical(domains: tuple[str, ...], rewriting: Rewriting) -> tuple[str, ...]:
    return tuple(name for name in (_complete(domain, rewriting) for domain in domains) if name)


def _complete(domain: str, rewriting: Rewriting) -> str:
    domain = domain.lower() if domain.isascii() else to_ascii_leniently(domain)
    if domain and "." not in domain and rewriting.append_dot_mydomain and rewriting.mydomain:
        domain = f"{domain}.{rewriting.mydomain}"
    return domain.rstrip(".")


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
    try:
        return idna.alabel(label).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return "xn--" + label.encode("punycode").decode("ascii")


def _is_dot_string(local: str) -> bool:
    """Whether a local part needs no quotes (RFC 5321 Dot-string), as is_822_dot_string() in quote_822_local.c."""
    if not local or local.startswith(".") or local.endswith(".") or ".." in local:
        return False
    return not any(char <= " " or char == "\x7f" or char in '()<>@,;:\\"[]' for char in local)
