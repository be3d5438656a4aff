"""Ways to spell a sender: a grammar for tests, the same every time.

It crosses ways of writing an address with ways of encoding its domain and with settings of Postfix. What is sent is in
`{d}`; whose it is when it is queued says `sender_oracle`.
"""

import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import reduce

from support.senders.mill import Spelling

# What all have that do not say otherwise.
BASE = {"myorigin": "city.example", "mydomain": "nrw.example"}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "no bang": {"swap_bangpath": "no"},
    "no percent": {"allow_percent_hack": "no"},
    "no origin": {"append_at_myorigin": "no"},
    "nothing": {"swap_bangpath": "no", "allow_percent_hack": "no", "append_at_myorigin": "no"},
    "mydomain": {"append_dot_mydomain": "yes"},
    "mydomain alone": {
        "swap_bangpath": "no",
        "allow_percent_hack": "no",
        "append_dot_mydomain": "yes",
        "mydomain": "NRW.Example",
        "myorigin": "polizei",
    },
    "no utf8": {"smtputf8_enable": "no"},
    "strict": {"strict_rfc821_envelopes": "yes", "strict_smtputf8": "yes"},
    # None of these may matter for a sender, or we would have to ask for it.
    "indifferent": {
        "recipient_delimiter": "+%",
        "remote_header_rewrite_domain": "koeln.example",
        "local_header_rewrite_clients": "static:all",
        "resolve_dequoted_address": "no",
        "resolve_null_domain": "yes",
        "resolve_numeric_domain": "yes",
        "allow_untrusted_routing": "yes",
        "myorigin": "City.Example",
    },
}

# As they are meant; the strangers are near misses.
_PARTNERS = ("koeln.example", "köln.example", "grüsse.example", "a.land.example", "polizei.nrw.example", "polizei")
_STRANGERS = ("stranger.example", "grüße.example", "koeln.example.stranger.example", "xkoeln.example", "land.example")

# Arguments of MAIL: {d} is the domain that is meant, {s} another one, a stranger's if {d} is a partner's, or the other
# way round.
WAYS = {
    "plain": r"""
        <u@{d}>  {blank}<u@{d}>  u@{d}  <u@{d}> SIZE=9  <u+x.y@{d}>  <u>  <>  <postmaster>  <u@{d}  <<u@{d}>>
        <u@{d}>>
    """,
    "phrase": r"""
        Name <u@{d}>  "x@{s}" <u@{d}>  <u@{d}> (x@{s})  (x@{s}) u@{d}  <g:u@{d};>  <u@{s}>,<u@{d}>
        <u@{s},u@{d}>
    """,
    "blanks": r"""
        <u@{d} >  < u@{d}>  <u @{d}>  <u@ {d}>  <u@{tab}{d}>  <u@{d}{tab}>  <u@{vt}{d}>  <u@{d}{ff}>
        <u@{d}{nul}>  <u{nul}@{d}>
    """,
    "comments": r"""
        <u@{d}(c)>  <u@(c){d}>  <(c)u@{d}>  <u(@{s})@{d}>  <u@(a(b)\)c){d}>  <u@{d}(>  <u@{d})>
    """,
    "dots": r"""
        <u@{d}.>  <u@{d}..>  <u@.{d}>  <u@{d}. >  <u@{d} .>  <.@{d}>  <u.@{d}>  <u..x@{d}>  <u@{d}.{s}>
        <u@{d}.(c)>
    """,
    "quoted domain": r"""
        <u@"{d}">  <u@"{d} ">  <u@" {d}">  <u@" "{d}>  <u@"{tab}{d}">  <u@"{d}.">  <u@"{d}".>  <u@"{d}. ">
        <u@{d}"">
    """,
    "quotes in it": r"""
        <u@"\"{d}\"">  <u@"\"{d} \"">  <u@"\"\"{d}">  <u@"{d}\"">  <u@"\"{d}">  <u@"{d}\"\"">  <u@"\"{d}\".">
        <u@"{d}\".\"x">  <u@"x\".{d}">
    """,
    "backslashes": r"""
        <u@\{d}>  <u@{d}\>  <u@"\\{d}">  <u@"{d}\\">  <u@"\\ {d}">  <u@"{d}\\ ">  <u@"{d}\\.{s}">
        <u@"{s}\\.{d}">
    """,
    "comments in it": r"""
        <u@"{d}(c)">  <u@"{d} (c)">  <u@"(c){d}">  <u@"(c) {d}">  <u@"(a(b)c){d}">  <u@"{d}(">  <u@"{s}({d})">
    """,
    "specials in it": r"""
        <u@"{d}<{s}>">  <u@"{s} <x%{d}>">  <u@"{s},x%{d}">  <u@"{s}:x%{d}">  <u@"{s};{d}">  <u@"x {d}">
        <u@x!{d}>  <u@x%{d}>  <u@{d}/x>  <u@"{d}\,">  <u@"<{d}>">  <u@{d};>  <u@"{d}:">
    """,
    "literals": r"""
        <u@[{d}]>  <u@"[{d}]">  <u@"[{d}">  <u@[192.0.2.1]>  <u@[IPv6:2001:db8::1]>  <u@"{d} [x]">
        <u@192.0.2.1>
    """,
    "percent": r"""
        <u%{d}>  <"u%{d}">  <u%{s}%{d}>  <u%{d}@{s}>  <u%{s}@{d}>  <%{d}>  <u%%{d}>  <u%"{d}">  <u\%{d}>
        <u%{d}@>  <u%(c){d}>  <u%40{d}>  <u%{d}%>  u%{d}  <u%\{d}>
    """,
    "percent in quotes": r"""
        <"u x%{d}">  <"u%{d}."  <u%{d}.>  <u.%{d}>  <.u%{d}>  <u..x%{d}>  <"u%{d}"@{s}>  <"u\"%{d}">  <"u,%{d}">
        <"u%{d} ">  <"u% {d}">  <"u\\%{d}">  <"u{tab}%{d}">
    """,
    "bang": r"""
        <{d}!u>  <"{d}!u">  <{d}!{s}!u>  <{s}!u@{d}>  <{d}!u@{s}>  <{d}!u%{s}>  <{s}!u%{d}>  <{d}!>  <!u@{d}>
        <{d}.!u>  <"{d}"!u>  <{d}\!u>  {d}!u  <{d}%x!u>  <x%{d}!u>  <|{d}!u>
    """,
    "bang in quotes": r"""
        <"{d}!u x">  <{d}!u.>  <.{d}!u>  <{d}!..u>  <"{d}!u"@{s}>  <"{d} !u">  <"{d}!<u">  <"{d}!u%{s} ">
        <"{d}!u:">
    """,
    "routes": r"""
        <@{s}:u@{d}>  <@{s},@x.example:u@{d}>  <@{d}:u@{s}>  <@{s}:u%{d}>  <@{s}:{d}!u>  <@{d}:u>  <@{s}:>
        <@{s}:@{d}>  <@{s}@{d}:u%{d}>  <@[192.0.2.1]:u%{d}>  <@{s}:"u x%{d}">  <@:u%{d}>
    """,
    "routes in quotes": r"""
        <"@{s}:u@{d}">  <"@{s}:u%{d}">  <@"{s}:u@{d}">  <@\:u%{d}>  <"@x\":u%{d}">  <"@(x:u%{d}">  <"@{d}:u">
        <"@{s}:u x%{d}">  <"@{s}:{d}!u">  <"@[x:u%{d}">  <"@x\\:u%{d}">  <"@{s}:u@{d} ">
    """,
    "at": r"""
        <@{d}>  <u@{s}@{d}>  <"u@{s}"@{d}>  <"u@{d}"@{s}>  <u@{d}@>  <"u@{d}"@>  <"u@{d}">  <u\@{d}>
        <u\@{s}@{d}>  <@@{d}>  <u@@{d}>
    """,
    "local parts": r"""
        <""@{d}>  <"."@{d}>  <"a b"@{d}>  <"a\"b"@{d}>  <"a\\"@{d}>  <"<u>"@{d}>  <"a(b"@{d}>  <"[x"@{d}>
        <"a:b"@{d}>  <a\ b@{d}>  <=?utf-8?q?u=40{s}?=@{d}>  <u=40{s}@{d}>  <ü@{d}>  <ü%{d}>  <{d}!ü>
        <{long}@{d}>  <x y@{d}>
    """,
}
_ODD = {"{blank}": " ", "{tab}": "\t", "{vt}": "\v", "{ff}": "\f", "{nul}": "\0", "{long}": 900 * "u"}


def _inserted(what: str) -> Callable[[str], str]:
    return lambda domain: domain[:2] + what + domain[2:]


def _shifted(first: int) -> Callable[[str], str]:
    return lambda domain: "".join(chr(ord(c) - ord("a") + first) if "a" <= c <= "z" else c for c in domain)


def _full_width(domain: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and c != "." else c for c in domain)


def _alabels(domain: str) -> str:
    return ".".join(c if c.isascii() else "xn--" + c.encode("punycode").decode() for c in domain.split("."))


def _fake(domain: str) -> str:
    """Punycode of what needs none, or is not in normal form."""
    return ".".join("xn--" + label.encode("punycode").decode() for label in domain.split("."))


ENCODINGS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "upper": str.upper,
    "title": str.title,
    "sharp S": lambda d: d.upper().replace("SS", "ẞ"),
    "sharp s": lambda d: d.replace("ss", "ß"),
    "long s": lambda d: d.replace("s", "\u017f"),
    "A-labels": _alabels,
    "A-labels, upper": lambda d: _alabels(d).upper(),
    "A-labels, full width": lambda d: _full_width(_alabels(d)),
    "A-labels of upper": lambda d: _alabels(d.upper()),
    "A-labels of decomposed": lambda d: _alabels(unicodedata.normalize("NFD", d)),
    "A-labels of full width": lambda d: _alabels(_full_width(d)),
    "A-labels with a joiner": lambda d: _alabels(_inserted("\u200d")(d)),
    "fake A-labels": _fake,
    "fake A-labels twice": lambda d: _fake(_fake(d)),
    "decomposed": lambda d: unicodedata.normalize("NFD", d),
    "decomposed, upper": lambda d: unicodedata.normalize("NFD", d).upper(),
    "full width": _full_width,
    "full width, upper": lambda d: _full_width(d.upper()),
    "bold": _shifted(0x1D41A),
    "circled": _shifted(0x24D0),
    "parenthesised": _shifted(0x249C),
    "Kelvin": lambda d: d.replace("k", "\u212a").replace("l", "\u217c"),
    "ideographic full stop": lambda d: d.replace(".", "\u3002"),
    "full-width full stop": lambda d: d.replace(".", "\uff0e"),
    "half-width full stop": lambda d: d.replace(".", "\uff61"),
    "mixed full stops": lambda d: d.replace(".", "\u3002", 1),
    "one-dot leader": lambda d: d.replace(".", "\u2024"),
    "ideographic dot at the end": lambda d: d + "\u3002",
    "full-width dot at the end": lambda d: d + "\uff0e",
    "soft hyphen": _inserted("\u00ad"),
    "zero-width space": _inserted("\u200b"),
    "non-joiner": _inserted("\u200c"),
    "joiner": _inserted("\u200d"),
    "joiner at the end": lambda d: d + "\u200d",
    "word joiner": _inserted("\u2060"),
    "byte order mark": _inserted("\ufeff"),
    "grapheme joiner": _inserted("\u034f"),
    "variation selector": _inserted("\ufe0f"),
    "left-to-right mark": _inserted("\u200e"),
    "override": _inserted("\u202e"),
    "Hangul filler": _inserted("\u3164"),
    "tag": _inserted("\U000e0041"),
    "no-break space": _inserted("\u00a0"),
    "combining mark": _inserted("\u0301"),
    "unassigned": _inserted("\u0378"),
    "Cyrillic": lambda d: d.replace("e", "\u0435"),
    "not UTF-8": _inserted("\udcf6"),
    "full-width at": lambda d: "x\uff20" + d,
    "full-width percent": lambda d: "x\uff05" + d,
    "full-width solidus": lambda d: d + "\uff0f",
}

# Strings that a sender of pure chance is made of.
_SOUP = (
    *("u", "@", "%", "!", ".", ":", ",", '"', "\\", " ", "(", ")", "[", "]", "<", ">", ";", "|", "\t"),
    *(*_PARTNERS, *_STRANGERS, "\u3002", "\u00ad", "\u200d", "ß", "ẞ", "\uff4b", "o\u0308", "xn--", "\uff0e"),
)


def spellings(seed: int = 1, soup: int = 1500) -> list[Spelling]:
    """All of them, each once: every way with every encoding, every way under all settings, and chance."""
    chance = random.Random(seed)  # noqa: S311 - the same every time is what is wanted
    found: dict[tuple[str, bytes], Spelling] = {}
    for way, text in (*_crossed(chance), *_under_all_settings(), *_cooked(chance, soup)):
        settings, _, way = way.partition("/")
        utf8 = not text.isascii() and settings != "no utf8" and not way.endswith("8bit")
        argument = f"FROM:{text}{' SMTPUTF8' if utf8 else ''}".encode("utf-8", "surrogateescape")
        found.setdefault((settings, argument), Spelling(settings, argument, way))
    return list(found.values())


def _templates() -> Iterator[tuple[str, str]]:
    for way, templates in WAYS.items():
        for template in re.split(r" {2,}|\n *", templates.strip()):
            yield way, reduce(lambda text, odd: text.replace(odd, _ODD[odd]), _ODD, template)


def _crossed(chance: random.Random) -> Iterator[tuple[str, str]]:
    settings = list(SETTINGS)
    for way, template in _templates():
        for encoding, encode in ENCODINGS.items():
            meant, other = chance.choice(_PARTNERS), chance.choice(_STRANGERS)
            if chance.random() < 0.25:
                meant, other = other, meant
            text = template.replace("{d}", encode(meant)).replace("{s}", other)
            yield f"{chance.choice(settings)}/{way}, {encoding}", text


def _under_all_settings() -> Iterator[tuple[str, str]]:
    for settings in SETTINGS:
        for way, template in _templates():
            for meant, other in (("koeln.example", "stranger.example"), ("stranger.example", "koeln.example")):
                yield f"{settings}/{way}", template.replace("{d}", meant).replace("{s}", other)
            yield f"{settings}/{way}, one label", template.replace("{d}", "polizei").replace("{s}", "stranger.example")
        for encoding, encode in ENCODINGS.items():
            for meant in (*_PARTNERS, *_STRANGERS):
                yield f"{settings}/{encoding}", f"<u@{encode(meant)}>"
                yield f"{settings}/{encoding}, 8bit", f"<u@{encode(meant)}>"


def _cooked(chance: random.Random, count: int) -> Iterator[tuple[str, str]]:
    settings = list(SETTINGS)
    for _ in range(count):
        soup = "".join(chance.choices(_SOUP, k=chance.randint(2, 7)))
        form = chance.choice(('<u@"{}">', "<{}>", '<"{}">', "<u@{}>", "<u%{}>", "<{}@koeln.example>"))
        yield f"{chance.choice(settings)}/soup", form.replace("{}", soup)
