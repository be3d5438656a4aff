"""Find the envelope sender as it will be queued: the address in Postfix's request is not always the one it writes.

Postfix asks with the address as smtpd(8) understood it, without quotes. Before it queues the mail, cleanup(8) quotes
the local part again (quote_822_local.c) and lets trivial-rewrite(8) complete the address: rewrite_tree() in Postfix's
src/trivial-rewrite/rewrite.c, on tokens made by tok822_parse.c. `_domain` does the same by few rules. Then come other
programs' readings of a domain: UTS 46 as mail clients and later hops apply it, and laxer readings where nobody can have
a domain of that spelling. Where it is not certain, every reading counts, and a partner's decides.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import idna

from closedmail.core.model import Rewriting
from closedmail.inbound.comments import without_comments
from closedmail.inbound.long_names import LONGEST_LABEL, NO_LABEL, shortened
from closedmail.inbound.odd_characters import is_unseen, with_new_letters
from closedmail.inbound.reading_budget import ReadingBudget, TooMuchToRead

# What nearly every sender looks like: nothing in it changes, whatever the settings.
_PLAIN = re.compile(r"[A-Za-z0-9._+=-]+@([A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)+)")
# What a name may consist of, valid or not; anything else ends it for somebody.
_NAME = re.compile(r"[A-Za-z0-9._\x80-\U0010ffff-]*")
_NO_NAME = re.compile(r"[^A-Za-z0-9._\x80-\U0010ffff-]+")
_LITERAL = re.compile(r"\[(?:[0-9.]+|(?i:ipv6):[0-9A-Fa-f:.]*)\]")
# A quoted string, an atom (a backslash takes the next character along), or an operator (tok822_scan()).
_TOKEN = re.compile(r'"((?:\\.|[^"\\])*)(?:"|\\?\Z)|((?:\\.?|[^\\ \t\r\n()<>@,;:".\[\]|%!])+)|[^ \t\r\n]', re.DOTALL)
_OPENING = re.compile(r'["(\[\\]')
# Postfix reads no longer line (line_length_limit), so that a longer sender is not from Postfix.
_LONGEST_SENDER = 2048
# What IDNA 2003 still maps and UTS 46 non-transitional keeps (its deviation characters).
_DEVIATIONS = str.maketrans({"ß": "ss", "ς": "\u03c3", "\u200c": "", "\u200d": "", "\u1806": ""})
# Capital sharp s: "ss" until Unicode 15.0, "ß" since 15.1. Nobody knows which the next hop has.
_CAPITAL_SHARP_S = ("ß", "ss")
# What is mapped for one sender, and what a label costs beside its characters.
_BUDGET = 20_000
_COST_OF_A_CHARACTER, _COST_OF_A_LABEL = 8, 40
# An A-label may hold an A-label, and so on; the whole name is short.
_NESTED = 8


class SenderError(ValueError):
    """The owner of a sender is unknown: its domain is not UTF-8, or it is longer than any address."""


def queued_domains(sender: str, rewriting: Rewriting, budget: ReadingBudget | None = None) -> tuple[str, ...]:
    """Find the domains that a sender may have when queued, as A-labels, the likeliest first; () where it has none.

    `sender` is the policy attribute, decoded as UTF-8 with surrogates for bytes that are not. More than one domain
    means that others may read it in several ways, and a partner's counts. `budget` is that of the message which the
    address stands in. Raises SenderError, and TooMuchToRead where a budget is given.
    """
    plain = _PLAIN.fullmatch(sender)
    if plain:
        name = plain[1].lower()
        if "xn--" not in name or _laxly(name) == name:
            return (name,)
    if not sender:
        return ()  # a bounce stays one
    if len(sender) > _LONGEST_SENDER:
        raise SenderError(f"the sender has more than {_LONGEST_SENDER} characters")
    try:
        return _found(sender, rewriting, budget or ReadingBudget(_BUDGET))
    except TooMuchToRead as error:
        if budget:
            raise
        raise SenderError(f"the sender is no honest one: {error}") from None


def _found(sender: str, rewriting: Rewriting, budget: ReadingBudget) -> tuple[str, ...]:
    readings = dict.fromkeys(reading for text in _texts(sender, rewriting) for reading in _readings(text))
    found = (name for reading in readings for name in _names(reading, budget))
    return tuple(dict.fromkeys(name for name in found if name))


# Postfix's reading


def _texts(sender: str, rewriting: Rewriting) -> tuple[str, ...]:
    """Find what may be the domain, without the source route (`@x,@y:`), whose domains are nobody's."""
    if not sender.startswith("@") or ":" not in sender:
        return _domain(sender, rewriting)
    route, _, rest = sender.partition(":")
    texts = _domain(rest, rewriting)
    # Specials are read before the colon is looked for, and may swallow it (tok822_find_type() in rewrite_tree()).
    return (*texts, *_unowned(sender)) if _OPENING.search(route) else texts


def _domain(sender: str, rewriting: Rewriting) -> tuple[str, ...]:
    """Return the text of the domain after rewriting; several where it is not certain, or is queued without one."""
    local, at, domain = sender.rpartition("@")
    if not at:
        local, domain = sender, _completed(sender, rewriting)
    if not domain:
        return _unowned(local)
    if "(" in domain:  # whether a comment stays depends on the reader
        return _complete(_without_comments(domain), rewriting), _complete(domain, rewriting)
    return (_complete(domain, rewriting),)


def _completed(local: str, rewriting: Rewriting) -> str:
    """Return the domain that an address without `@` is given, "" for none."""
    # An address that needs quotes is one word to trivial-rewrite, whatever is in it.
    bare = _is_dot_string(local)
    if bare and rewriting.swap_bangpath and "!" in local:
        return local.partition("!")[0]
    if bare and rewriting.allow_percent_hack and "%" in local:
        return local.rpartition("%")[2]
    return rewriting.myorigin if rewriting.append_at_myorigin else ""


def _unowned(sender: str) -> tuple[str, ...]:
    """Read a sender that is queued without a domain: a later hop that completes it decides, by `!`, `%` or other means.

    A mere local part may be in any character set, and is no domain that is not UTF-8.
    """
    return tuple(piece for piece in _pieces(sender) if any(mark in sender for mark in "!%@") or _is_utf8(piece))


def _complete(domain: str, rewriting: Rewriting) -> str:
    """Apply `append_dot_mydomain`, which knows no dot but U+002E, and no literal."""
    if _LITERAL.fullmatch(domain):
        return domain
    domain, dotted = (domain, "." in domain) if _NAME.fullmatch(domain) else _scan(domain)
    if domain and not dotted and rewriting.append_dot_mydomain and rewriting.mydomain:
        return f"{domain}.{rewriting.mydomain}"
    return domain


def _without_comments(text: str) -> str:
    return without_comments(text).partition("(")[0]


def _scan(domain: str) -> tuple[str, bool]:
    """Read a domain as RFC 822 text; return it, and whether it has a dot (or bracket) outside of quotes.

    Quotes, backslashes and white space go; words that then stand side by side get a blank (tok822_internalize()).
    """
    parts: list[str] = []
    dotted = after_word = False
    for token in _TOKEN.finditer(domain):
        quoted, atom = token.groups()
        word = quoted if quoted is not None else atom
        if word is None:
            parts.append(token[0])
            dotted = dotted or token[0] in ".["
        else:
            parts.append((" " if after_word else "") + re.sub(r"\\(.?)", r"\1", word, flags=re.DOTALL))
        after_word = word is not None
    return "".join(parts), dotted


def _is_dot_string(local: str) -> bool:
    """Check that a local part needs no quotes (RFC 5321 Dot-string), as is_822_dot_string() in quote_822_local.c."""
    if not local or local.startswith(".") or local.endswith(".") or ".." in local:
        return False
    return not any(char <= " " or char == "\x7f" or char in '()<>@,;:\\"[]' for char in local)


# Others' reading of the domain


def _readings(text: str) -> Iterator[str]:
    """Yield a name as it is; for any other text, which nobody can have, all that may be taken for a name."""
    if _NAME.fullmatch(text) or _LITERAL.fullmatch(text):
        yield text
        return
    yield _NO_NAME.sub("", text)
    yield from _pieces(text)


def _pieces(text: str) -> Iterator[str]:
    """Yield what looks like names of more than one label between characters that no name has."""
    pieces = (piece.strip(".") for piece in _NO_NAME.split(text))
    return (piece for piece in pieces if "." in piece or not piece.isascii())


def _names(domain: str, budget: ReadingBudget) -> Iterator[str]:
    """Yield the A-labels of a domain that somebody else spelled: mapped as far as it goes, never refused.

    Unlike `domain.parse_name` it has to name what a later hop might make of the spelling, valid or not. Raises
    SenderError for surrogates (bytes that were not UTF-8), and TooMuchToRead.
    """
    if domain.isascii() and "xn--" not in domain.lower():
        yield _without_dots(domain.lower())
        return
    if not _is_utf8(domain):
        raise SenderError("the sender's domain is not UTF-8")
    domain = shortened(domain)
    budget.spend(_COST_OF_A_CHARACTER * len(domain))
    for sharp_s in _CAPITAL_SHARP_S if "ẞ" in domain else ("",):
        for mapped in dict.fromkeys(_readings(_mapped(domain.replace("ẞ", sharp_s)))):
            budget.spend(_COST_OF_A_CHARACTER * len(mapped) + _COST_OF_A_LABEL * (1 + mapped.count(".")))
            yield _alabels(mapped)
            lax = _laxly(mapped)
            if lax != mapped:
                yield _alabels(lax)
                yield _alabels(lax.translate(_DEVIATIONS))


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _without_dots(name: str) -> str:
    return name.rstrip(".")


def _mapped(text: str) -> str:
    """Map by UTS 46, non-transitional. Disallowed characters are dropped where invisible, else mapped by NFKC.

    A name with the like is impossible, and is mapped (and composed) again as such.
    """
    text = with_new_letters(text)
    try:
        return idna.uts46_remap(text, std3_rules=False, transitional=False)
    except idna.IDNAError:
        return "".join(map(_mapped_character, text))


def _mapped_character(char: str) -> str:
    try:
        return idna.uts46_remap(char, std3_rules=False, transitional=False)
    except idna.IDNAError:
        return "" if is_unseen(char) else unicodedata.normalize("NFKC", char).casefold()


def _laxly(name: str) -> str:
    """Read the impossible labels of a mapped name as lax software does: IDNA 2003, or punycode decoded unchecked.

    Labels that somebody can have stay: grüße and grüsse are two domains, and neither owner answers for the other.
    """
    for _ in range(_NESTED):
        before, name = name, ".".join(map(_lax_label, name.split(".")))
        if name == before:
            break
    return name


def _lax_label(label: str) -> str:
    if len(label) <= LONGEST_LABEL:
        if (label.isascii() and not label.startswith("xn--")) or _is_possible(label):
            return label
        if label.isascii():
            return _mapped(_decoded(label).translate(_DEVIATIONS))
    return label if label.isascii() else _mapped(label.translate(_DEVIATIONS))


def _decoded(alabel: str) -> str:
    try:
        return alabel[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return alabel


@lru_cache(maxsize=1024)
def _is_possible(label: str) -> bool:
    """Check whether a label with more than ASCII in it, or an A-label, can be registered (IDNA 2008)."""
    try:
        idna.alabel(label)
    except (idna.IDNAError, UnicodeError):
        return False
    return True


def _alabels(name: str) -> str:
    return _without_dots(".".join(map(_alabel, name.split("."))).lower())


def _alabel(label: str) -> str:
    if label.isascii():
        return label
    if len(label) > LONGEST_LABEL:
        return NO_LABEL
    try:
        return idna.alabel(label).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return "xn--" + label.encode("punycode").decode("ascii")
