"""The domain of a sender as it will be queued, for every spelling and setting that Postfix knows."""

from contextlib import suppress

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.core.model import Rewriting
from closedmail.inbound.sender import SenderError, queued_domains

assert samples  # its hypothesis profile

DEFAULT = Rewriting(myorigin="city.example")
KOELN = "xn--kln-sna.example"


@pytest.mark.parametrize(
    ("sender", "domains"),
    [
        ("u@p.example", ("p.example",)),
        ("u@P.Example", ("p.example",)),
        ("u@p.example.", ("p.example",)),
        ("u%p.example", ("p.example",)),
        ("u%q.example%p.example", ("p.example",)),
        ("p.example!u", ("p.example",)),
        ("p.example!q.example!u", ("p.example",)),
        ("u@p.example@evil.example", ("evil.example",)),
        ("u%p.example@evil.example", ("evil.example",)),
        ("p.example!u@evil.example", ("evil.example",)),
        ("u@köln.example", (KOELN,)),
        ("u@KÖLN.Example", (KOELN,)),
        ("u@ko\u0308ln.example", (KOELN,)),
        ("u@köln。example", (KOELN,)),
        ("u@xn--kln-sna.example", (KOELN,)),
        ("u@XN--KLN-SNA.example.", (KOELN,)),
        ("u%köln.example", (KOELN,)),
        ("köln.example!u", (KOELN,)),
        ("u@straße.example", ("xn--strae-oqa.example",)),
        ("p.example!u%q.example", ("p.example",)),
        ("!%p.example", ("p.example",)),
        ("", ()),
        ("u", ("city.example",)),
        ("u@", ()),
        ("u@.", ()),
        ("@p.example", ("p.example",)),
        ("u@[192.0.2.1]", ("[192.0.2.1]",)),
        ("\udcff@p.example", ("p.example",)),
        ("ö@p.example", ("p.example",)),
        ("u\x00 <script>@p.example", ("p.example",)),
    ],
)
def test_default_settings(sender: str, domains: tuple[str, ...]) -> None:
    """What Postfix does as it is delivered."""
    assert queued_domains(sender, DEFAULT) == domains


# As asked by, and queued in, Postfix 3.7.11: the domain is read as RFC 822 text, and a source route goes.
READ_AGAIN = [
    *(
        "u@p.example ",
        "u@ p.example",
        "u@p .example",
        "u@p. example",
        "u@p.example. ",
        "u@p.example .",
        "u@p.example\t",
    ),
    *(
        'u@"p.example"',
        'u@p.example"',
        'u@"p.example',
        'u@p"".example',
        "u@\\p.example",
        "u@p.example\\",
        "u@p.exa\\mple",
    ),
    *(
        "u@p.example(c)",
        "u@(c)p.example",
        "u@p.(a(b)\\)c)example",
        'u@"p.example" ("',
        "u@p.example\x0b",
        "@p.example ",
    ),
    *("@q.example:u%p.example", "@q.example:p.example!u", "@q.example:u@p.example", "@q.example:u@p.example "),
    *(
        "@:p.example!u",
        "@q.example,@r.example:u%p.example",
        "@q.example@r.example:u%p.example",
        "@q.example:@p.example",
    ),
]


@pytest.mark.parametrize("sender", READ_AGAIN)
def test_read_again(sender: str) -> None:
    """All of these are p.example's: queued as from there, or as what somebody reads so."""
    assert queued_domains(sender, DEFAULT)[0] == "p.example"


@pytest.mark.parametrize("sender", ["@p.example:u", "@p.example:", "@x@p.example:u"])
def test_source_route(sender: str) -> None:
    """The domains of a source route are nobody's."""
    assert queued_domains(sender, DEFAULT) == ("city.example",)


NO_BANG = Rewriting(swap_bangpath=False, myorigin="city.example")
NO_PERCENT = Rewriting(allow_percent_hack=False, myorigin="city.example")
NO_ORIGIN = Rewriting(append_at_myorigin=False, myorigin="city.example")
NOTHING = Rewriting(swap_bangpath=False, allow_percent_hack=False, append_at_myorigin=False)
MYDOMAIN = Rewriting(myorigin="city.example", append_dot_mydomain=True, mydomain="nrw.example")
LOUD = Rewriting(myorigin="City.Example.", append_dot_mydomain=True, mydomain="NRW.Example")


@pytest.mark.parametrize(
    ("settings", "sender", "domains"),
    [
        (NO_BANG, "p.example!u", ("city.example",)),
        (NO_BANG, "u%p.example", ("p.example",)),
        (NO_BANG, "p.example!u@q.example", ("q.example",)),
        (NO_PERCENT, "u%p.example", ("city.example",)),
        (NO_PERCENT, "p.example!u", ("p.example",)),
        (NO_ORIGIN, "u", ()),
        (NO_ORIGIN, "u%p.example", ("p.example",)),
        (NOTHING, "u", ()),
        (NOTHING, "j.m\udcfcller", ()),
        (NOTHING, "u%p.example", ("p.example",)),
        (NOTHING, "p.example!u", ("p.example",)),
        (NOTHING, "p.example!u%q.example", ("p.example", "q.example")),
        (NOTHING, "u@p.example", ("p.example",)),
        (MYDOMAIN, "u@polizei", ("polizei.nrw.example",)),
        (MYDOMAIN, "u@Polizei", ("polizei.nrw.example",)),
        (MYDOMAIN, "u@polizei.", ("polizei",)),
        (MYDOMAIN, "u%polizei", ("polizei.nrw.example",)),
        (MYDOMAIN, "polizei!u", ("polizei.nrw.example",)),
        (MYDOMAIN, "u@köln", ("xn--kln-sna.nrw.example",)),
        (MYDOMAIN, "u@p.example", ("p.example",)),
        (MYDOMAIN, "u@", ()),
        (MYDOMAIN, "u@polizei ", ("polizei.nrw.example",)),
        (MYDOMAIN, "u@[IPv6:::1]", ("[ipv6:::1]",)),
        (LOUD, "u@polizei", ("polizei.nrw.example",)),
        (LOUD, "u", ("city.example",)),
        (DEFAULT, "u@polizei", ("polizei",)),
    ],
)
def test_settings(settings: Rewriting, sender: str, domains: tuple[str, ...]) -> None:
    """Each setting changes what it changes, and nothing else."""
    assert queued_domains(sender, settings) == domains


@pytest.mark.parametrize("sender", ["p.example!u x", "u x%p.example", "u%p.example.", "p.example!u..", "p.example!<u"])
def test_quoted_again(sender: str) -> None:
    """What cleanup(8) puts in quotes is one word to trivial-rewrite(8); without an origin it is anybody's."""
    assert queued_domains(sender, DEFAULT) == ("city.example",)
    assert queued_domains(sender, NO_ORIGIN) == ("p.example",)


@pytest.mark.parametrize("sender", ["u@p.example@", "u%p.example@", "p.example!u@"])
def test_nothing_after_the_at(sender: str) -> None:
    """Nobody's domain, so that what stands before counts."""
    assert queued_domains(sender, DEFAULT) == ("p.example",)


@pytest.mark.parametrize(
    ("domain", "names"),
    [
        ("grüße.example", ("xn--gre-6ka8l.example",)),
        ("xn--gre-6ka8l.example", ("xn--gre-6ka8l.example",)),
        ("GRÜẞE.example", ("xn--gre-6ka8l.example", "xn--grsse-lva.example")),
        ("\u2615.example", ("xn--53h.example",)),
        ("xn--53h.example", ("xn--53h.example",)),
        ("p\u200d.example", ("xn--p-ugn.example", "p.example")),
        ("xn--p-.example", ("xn--p-.example", "p.example")),
        ("p\u200e.example", ("p.example",)),
        ("x <y%p.example>", ("xyp.example", "p.example")),
    ],
)
def test_several_readings(domain: str, names: tuple[str, ...]) -> None:
    """A domain that somebody can have is one name; of one that nobody can have every reading counts."""
    assert queued_domains("u@" + domain, DEFAULT) == names


@pytest.mark.parametrize(
    "sender", ["u@k\udcffln.example", "u@\udcc3", "u%k\udcffln.example", "k\udcffln.example!u", "u@kö\udcffln.example"]
)
def test_not_utf8(sender: str) -> None:
    """Nobody can say whose a domain is that is not UTF-8."""
    with pytest.raises(SenderError):
        queued_domains(sender, DEFAULT)


@pytest.mark.parametrize(
    "domain",
    ["ö" * 64 + ".example", "-ö.example", "ö\u2028.example", "\u0378.example", "xn--ö.example"],
)
def test_what_no_domain_is(domain: str) -> None:
    """A U-label that nobody could register is a domain all the same, and nobody's."""
    (name,) = queued_domains("u@" + domain, DEFAULT)
    assert name.startswith("xn--")
    assert name.endswith(".example")


BYTES = st.binary(max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape"))
PIECES = st.lists(
    st.sampled_from(
        [
            *"u@%!.",
            "p.example",
            "köln",
            "KÖLN",
            "ß",
            " ",
            '"',
            "[",
            "]",
            "(",
            ")",
            "\\",
            "ẞ",
            "\u200d",
            "xn--a-",
            "\udcff",
            "\x00",
            "。",
            "\u00ad",
            "xn--",
        ]
    ),
    max_size=10,
).map("".join)
SETTINGS = st.builds(
    Rewriting,
    swap_bangpath=st.booleans(),
    allow_percent_hack=st.booleans(),
    append_at_myorigin=st.booleans(),
    myorigin=st.sampled_from(["", "city.example", "Köln.Example"]),
    append_dot_mydomain=st.booleans(),
    mydomain=st.sampled_from(["", "nrw.example", "NRW.Example"]),
)


@given(st.one_of(BYTES, PIECES, st.text(max_size=40)), SETTINGS)
def test_any_sender(sender: str, settings: Rewriting) -> None:
    """Any sender has lower-case ASCII domains, or raises SenderError."""
    try:
        domains = queued_domains(sender, settings)
    except SenderError:
        assert any("\ud800" <= char <= "\udfff" for char in sender)
        return
    for domain in domains:
        assert domain
        assert domain.isascii()
        assert domain == domain.lower()
        assert not domain.endswith(".")


@pytest.mark.parametrize(
    "domain",
    [
        "koe\u1806ln.example",  # invisible in IDNA 2003
        "koe\u2065ln.example",  # unassigned, and ignorable by default
        "koe\U000e0fffln.example",
        "".join(map(chr, (0x1CCE0, 0x1CCE4, 0x1CCDA, 0x1CCE1, 0x1CCE3))) + ".example",  # Unicode 16
        "koeln.example" + "\u00ad" * 400,
        "koe" + "\u00ad" * 400 + "ln.example",
    ],
)
def test_characters_that_the_installed_tables_may_not_know(domain: str) -> None:
    assert "koeln.example" in queued_domains(f"u@{domain}", DEFAULT)


@pytest.mark.parametrize(
    "domain",
    ["ﷺẞ" * 1000, "ﷺẞ." * 600, "ü.ẞ " * 500, "ﷺẞ" * 60 + ".ﷺẞ " * 300, r"\(" * 1000, "xn--a-." * 290, "ü." * 1000],
)
def test_what_a_hostile_sender_costs(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many characters are mapped, and so many labels taken for one that may be registered."""
    mapped: list[str] = []
    remap = idna.uts46_remap

    def count(text: str, **settings: bool) -> str:
        mapped.append(text)
        return remap(text, **settings)

    monkeypatch.setattr(idna, "uts46_remap", count)
    with suppress(SenderError):
        queued_domains(f"u@{domain}"[:2048], DEFAULT)
    assert sum(map(len, mapped)) < 10_000


def test_a_sender_that_can_be_read_in_too_many_ways() -> None:
    hostile = "u@" + " ".join(f"{chr(0xE0 + at % 20)}{at}ẞ.x" for at in range(300))
    with pytest.raises(SenderError, match="too many ways"):
        queued_domains(hostile[:2048], DEFAULT)
