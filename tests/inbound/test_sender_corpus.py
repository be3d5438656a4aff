"""Every sender that was ever decided wrongly, and that each rule of `inbound/sender.py` is needed for some sender."""

from pathlib import Path
from types import ModuleType

import pytest
from support.senders.corpus import FILES, Row, contradicts, rows, wrong

from closedmail.inbound import sender

SOURCE = Path(sender.__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES)
def test_corpus(file: str) -> None:
    """Decided as they must be, and the corpus says what the oracle says."""
    found = rows(file)
    assert len(found) > 400
    assert not wrong(found, sender.queued_domains)
    assert not [row for row in found if contradicts(row)]


def test_what_no_postfix_queues() -> None:
    assert not wrong(NEVER_QUEUED, sender.queued_domains)


# Postfix 3.7 refuses these by itself (its ICU disallows them); what asks us may be another version, or a milter.
NEVER_QUEUED = [
    Row("default", text, "", checked=True)
    for text in (
        "u@ko\u0308\u200eln.example",
        "u@k\u24aaeln\u2024example",
        "u@koe\u3164ln.example",
        "u@\u24a6oeln.example",
        "u@koe(c)ln.example",
        "!%koeln.example",
    )
]


# A rule, the code that has it, and the code without it.
RULES = {
    "a bounce stays one": ("if not sender:", "if False:"),
    "source routes go": ('if not sender.startswith("@") or ":" not in sender:', "if True:"),
    "the last @ counts": ('sender.rpartition("@")', 'sender.partition("@")'),
    "what needs quotes is one word": ("bare = _is_dot_string(local)", "bare = True"),
    "dots at the ends need quotes": ('local.startswith(".") or local.endswith(".") or ', ""),
    "two dots need quotes": (' or ".." in local', ""),
    "specials need quotes": ("""char in '()<>@,;:\\\\"[]'""", "False"),
    "blanks and controls need quotes": ('char <= " "', "False"),
    "bang path": ('if bare and rewriting.swap_bangpath and "!" in local', "if False"),
    "swap_bangpath = no": ("bare and rewriting.swap_bangpath and", "bare and"),
    "the first ! counts": ('local.partition("!")[0]', 'local.rpartition("!")[0]'),
    "percent": ('if bare and rewriting.allow_percent_hack and "%" in local', "if False"),
    "allow_percent_hack = no": ("bare and rewriting.allow_percent_hack and", "bare and"),
    "the last % counts": ('local.rpartition("%")', 'local.partition("%")'),
    "myorigin": ("return rewriting.myorigin if rewriting.append_at_myorigin else", "return"),
    "append_at_myorigin = no": ('rewriting.myorigin if rewriting.append_at_myorigin else ""', "rewriting.myorigin"),
    "without a domain, others complete": ("for piece in _pieces(sender) if", "for piece in () if"),
    "mydomain": ("if domain and not dotted and", "if False and"),
    "append_dot_mydomain = no": ("rewriting.append_dot_mydomain and rewriting.mydomain", "rewriting.mydomain"),
    "not where there is a dot": ("if domain and not dotted and", "if domain and"),
    "no dot but U+002E": ('(domain, "." in domain)', '(domain, "." in _mapped(domain))'),
    "read as RFC 822 text": (" else _scan(domain)", ' else (domain, "." in domain)'),
    "quotes": ("else atom\n", "else token[0]\n"),
    "quoted dots are none": ("if word is None:", 'dotted = dotted or "." in token[0]\n        if word is None:'),
    "backslashes": ('re.sub(r"\\\\(.?)", r"\\1", word, flags=re.DOTALL)', "word"),
    "words stay apart": ('(" " if after_word else "")', '""'),
    "comments": ('if "(" in domain:', "if False:"),
    "what is no name, without the rest": ('yield _NO_NAME.sub("", text)', "yield text"),
    "what is no name, piece by piece": ("    yield from _pieces(text)\n", ""),
    "lower case, ASCII": ("yield _without_dots(domain.lower())", "yield _without_dots(domain)"),
    "lower case, plain": ("plain[1].lower()", "plain[1]"),
    "trailing dots": ('return name.rstrip(".")', "return name"),
    "UTS 46": ("return idna.uts46_remap(text, std3_rules=False, transitional=False)", "return text.lower()"),
    "non-transitional": (
        "return idna.uts46_remap(text, std3",
        "return idna.uts46_remap(text.translate(_DEVIATIONS), std3",
    ),
    "what is disallowed: unseen": ('"" if is_unseen(char) else', ""),
    "what is disallowed: NFKC": ('unicodedata.normalize("NFKC", char).casefold()', "char"),
    "capital sharp s": ('_CAPITAL_SHARP_S = ("ß", "ss")', '_CAPITAL_SHARP_S = ("ß",)'),
    "impossible labels": ("lax = _laxly(mapped)", "lax = mapped"),
    "impossible names": ("                yield _alabels(lax.translate(_DEVIATIONS))\n", ""),
    "possible labels stay": ("        idna.alabel(label)\n", '        raise UnicodeError("")\n'),
    "fake A-labels": ("_mapped(_decoded(label).translate(_DEVIATIONS))", "label"),
    "fake A-labels in A-labels": ("_NESTED = 8", "_NESTED = 1"),
    "joiners": ('"\\u200c": "", "\\u200d": "", ', ""),
}


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_the_corpus_fails(rule: str) -> None:
    """None of them is there for nothing."""
    with_it, without_it = RULES[rule]
    assert SOURCE.count(with_it) == 1, f"sender.py no longer has {with_it!r} once"
    mutant = ModuleType(f"sender without {rule}")
    exec(compile(SOURCE.replace(with_it, without_it), "sender.py", "exec"), vars(mutant))  # noqa: S102 - our own source
    vars(mutant)["SenderError"] = sender.SenderError
    assert wrong((*rows(), *NEVER_QUEUED), mutant.queued_domains)
