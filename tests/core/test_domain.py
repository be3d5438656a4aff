"""Domain names have one spelling each, whatever they are written like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import shipped_suffixes

from closedmail.core.domain import DomainError, DomainSet, fold, parents, parse_key, parse_name, to_unicode
from closedmail.core.suffixes import PublicSuffixes


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("city.example", "city.example"),
        ("City.EXAMPLE", "city.example"),
        ("a-b.example", "a-b.example"),
        ("_dmarc.example", "_dmarc.example"),
        ("a_b.example", "a_b.example"),
        ("localhost", "localhost"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("3com.example", "3com.example"),
        ("köln.example", "xn--kln-sna.example"),
        ("KÖLN.example", "xn--kln-sna.example"),
        ("ko\u0308ln.example", "xn--kln-sna.example"),  # decomposed
        ("XN--KLN-SNA.example", "xn--kln-sna.example"),
        ("grüße.example", "xn--gre-6ka8l.example"),  # not grüsse, as IDNA 2003 has it
        ("grüsse.example", "xn--grsse-lva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("ς.example", "xn--3xa.example"),
        ("\u03c3.example", "xn--4xa.example"),
        ("köln。example", "xn--kln-sna.example"),  # ideographic full stop
        ("\u212aoeln.example", "koeln.example"),  # the Kelvin sign
        ("a" * 63 + ".example", "a" * 63 + ".example"),
        (".".join(["a" * 61] * 4) + ".aaaaa", ".".join(["a" * 61] * 4) + ".aaaaa"),  # 253 characters
    ],
)
def test_name(text: str, name: str) -> None:
    """Lower-case A-labels by UTS 46, non-transitional; a spelling of the result is the result."""
    assert parse_name(text) == name
    assert parse_name(name) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the name is empty"),
        (".", "the name has an empty label"),
        ("city.example.", "the name ends with a dot"),
        ("city..example", "the name has an empty label"),
        (".city.example", "the name has an empty label"),
        ("-city.example", "'-city' is not a label"),
        ("city-.example", "'city-' is not a label"),
        ("ci ty.example", "'ci ty' is not a label"),
        ("city.example\n", "is not a label"),
        ("city*.example", "is not a label"),
        ("user@city.example", "is not a label"),
        ("[192.0.2.1]", "is not a label"),
        ("192.0.2.1", "does not end in a number"),
        ("city.123", "does not end in a number"),
        ("2001:db8::1", "is not a label"),
        ("a" * 64 + ".example", "longer than 63"),
        (".".join(["a" * 61] * 4) + ".aaaaaa", "longer than 253"),
        ("köln\x00.example", "internationalised"),
        ("k\udcffln.example", "internationalised"),
        ("ö" * 63 + ".example", "internationalised"),
        ("\u2028ö.example", "internationalised"),
        ("STRAẞE.example", "may mean ß or ss"),
    ],
)
def test_not_a_name(text: str, reason: str) -> None:
    """What is no name is refused with a reason, never with another exception."""
    with pytest.raises(DomainError, match=reason):
        parse_name(text)


@given(st.text())
def test_names_of_any_text(text: str) -> None:
    """Any text is a name in its one spelling, or a DomainError."""
    try:
        name = parse_name(text)
    except DomainError:
        return
    assert name.isascii()
    assert name == name.lower()
    assert not name.endswith(".")
    assert len(name) <= 253
    assert parse_name(name) == name


@pytest.mark.parametrize(
    ("text", "key"),
    [("a.example", "a.example"), (".A.example", ".a.example"), (".köln.example", ".xn--kln-sna.example")],
)
def test_key(text: str, key: str) -> None:
    """A key keeps its leading dot."""
    assert parse_key(text) == key


@pytest.mark.parametrize("text", ["", ".", "..", "..a.example", "*.a.example", ". a.example"])
def test_not_a_key(text: str) -> None:
    """One dot, and then a name."""
    with pytest.raises(DomainError):
        parse_key(text)


@pytest.mark.parametrize(
    ("key", "spelled"),
    [
        ("xn--kln-sna.example", "köln.example"),
        (".xn--kln-sna.example", ".köln.example"),
        ("xn--gre-6ka8l.example", "grüße.example"),
        ("koeln.example", None),
        ("axn--b.example", None),
        ("xn--a.example", None),  # no such A-label
        ("xn--kln-sna.xn--a.example", None),
    ],
)
def test_unicode_spelling(key: str, spelled: str | None) -> None:
    """The spelling with U-labels, where there is one."""
    assert to_unicode(key) == spelled


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("grüße.example", "grüsse.example", True),
        ("straße.example", "strasse.example", True),
        ("ς.example", "\u03c3.example", True),
        ("KÖLN.example", "köln.example", True),
        ("köln.example", "koln.example", False),
    ],
)
def test_fold(one: str, other: str, same: bool) -> None:
    """Postfix's full case folding makes one key of two domains."""
    assert (fold(one) == fold(other)) is same


@pytest.mark.parametrize(
    ("name", "above"), [("a.b.c", ["b.c", "c"]), ("c", []), ("", []), ("b.c", ["c"]), ("a..c", [".c", "c"])]
)
def test_parents(name: str, above: list[str]) -> None:
    """Every proper parent, the longest first."""
    assert list(parents(name)) == above


@pytest.mark.parametrize(
    ("key", "covered", "by"),
    [
        ("city.example", True, "city.example"),
        ("mail.city.example", True, "city.example"),
        ("a.old.city.example", True, "old.city.example"),
        (".city.example", True, None),
        (".mail.city.example", True, None),
        ("notcity.example", False, None),
        ("example", False, None),
        (".example", False, None),
        ("city.example.com", False, None),
        ("", False, None),
    ],
)
def test_domain_set(key: str, covered: bool, by: str | None) -> None:
    """A domain, and all below it; nothing that only ends like it."""
    domains = DomainSet(["city.example", "old.city.example", "town.example"])
    assert domains.covers(key) is covered
    assert not DomainSet([]).covers(key)
    if not key.startswith("."):
        assert domains.covering(key) == by


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("com", True),
        ("example", True),  # a single label, listed or not
        ("co.uk", True),
        ("city.example", False),
        ("partner.co.uk", False),
        ("de", True),
        ("polizei.de", False),
        ("ck", True),
        ("anything.ck", True),
        ("www.ck", False),
        ("x.www.ck", False),
        ("x.anything.ck", False),
        ("kobe.jp", False),
        ("anything.kobe.jp", True),
        ("city.kobe.jp", False),
        ("xn--fiqs8s", True),  # 中国
        ("xn--55qx5d.cn", True),  # 公司.cn
        ("xn--od0alg.cn", True),  # 網絡.cn
        ("github.io", False),  # the private section: companies' own names
        ("blogspot.com", False),
        ("s3.amazonaws.com", False),
    ],
)
def test_public_suffixes(name: str, public: bool) -> None:
    """The ICANN section alone, with wildcards, exceptions and U-labels."""
    assert (name in shipped_suffixes()) is public


LIST = """\
// a comment
// ===BEGIN ICANN DOMAINS===
com
*.wild.test
!free.wild.test
köln.test trailing words
// net
bad..rule

org\r
// ===END ICANN DOMAINS===
// ===BEGIN PRIVATE DOMAINS===
private.test
"""


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("a.wild.test", True),
        ("free.wild.test", False),
        ("b.a.wild.test", False),
        ("xn--kln-sna.test", True),
        ("private.test", False),
        ("x.net", False),
    ],
)
def test_suffix_grammar(name: str, public: bool) -> None:
    """Rules end at white space, comments and broken rules are nothing."""
    assert (name in PublicSuffixes(LIST)) is public


@pytest.mark.parametrize("text", ["", "com\norg\n", LIST.replace("END ICANN", "END"), LIST.replace("BEGIN ICANN", "")])
def test_no_suffix_list(text: str) -> None:
    """A file without an ICANN section would admit everything, and is refused."""
    with pytest.raises(ValueError, match="no ICANN section"):
        PublicSuffixes(text)
