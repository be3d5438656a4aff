"""A grammar of spellings: what Postfix's DNS client takes for one and the same domain, and what looks as if."""

import random
import unicodedata
from collections.abc import Iterator

import idna

# Characters that UTS 46 ignores, by the software that leaves them: Word, web pages, PDFs, messengers, attackers.
IGNORED = "\u00ad\u034f\u200b\u2060\u2064\ufeff\ufe00\ufe0f\u180b\U000e0101"
FULL_STOPS = "\u3002\uff0e\uff61"
# Ways to write an address that Postfix makes plain again.
ROUTED = ("@relay.example:{local}@{domain}", "{local}%{domain}@city.example", "{domain}!{local}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Alphabets of one letter each for a to z.
_ALPHABETS = {
    "full-width": [chr(0xFF41 + number) for number in range(26)],
    "capital-full-width": [chr(0xFF21 + number) for number in range(26)],
    "bold": [chr(0x1D41A + number) for number in range(26)],
    "fraktur": [chr(0x1D51E + number) for number in range(26)],
    "monospace": [chr(0x1D670 + number) for number in range(26)],
    "circled": [chr(0x24D0 + number) for number in range(26)],
}
_SINGLE = {
    "k": "\u212a",
    "s": "\u017f",
    "i": "\u2148",
    "l": "\u2113",
    "o": "\u2092",
    "fi": "\ufb01",
    "\u00e5": "\u212b",
}


def a_label(name: str) -> str:
    """A name, mapped, with A-labels; a label that is no U-label (an emoji) as punycode has it."""
    labels = []
    for label in idna.uts46_remap(name, std3_rules=False).split("."):
        try:
            labels.append(label if label.isascii() else idna.alabel(label).decode())
        except idna.IDNAError:
            labels.append("xn--" + label.encode("punycode").decode())
    return ".".join(labels)


def right(name: str) -> Iterator[str]:
    """All that a person who spells it right may write: `name` has U-labels."""
    yield from dict.fromkeys((name, a_label(name), name.upper() if "ß" not in name else name, a_label(name).upper()))


def _decomposed(name: str) -> Iterator[str]:
    for text in (name, name.upper() if "ß" not in name else name, name.title() if "ß" not in name else name):
        yield unicodedata.normalize("NFD", text)
        yield unicodedata.normalize("NFKD", text)
    # Not in canonical order: marks of two classes behind one letter.
    yield unicodedata.normalize("NFD", name).replace("\u0323\u0302", "\u0302\u0323")


def _other_letters(name: str) -> Iterator[str]:
    for alphabet in _ALPHABETS.values():
        table = dict(zip(_LETTERS, alphabet, strict=True))
        yield "".join(table.get(char, char) for char in name)
        at = next(index for index, char in enumerate(name) if char in table)
        yield name[:at] + table[name[at]] + name[at + 1 :]
    for plain, single in _SINGLE.items():
        if plain in name:
            yield name.replace(plain, single)


def _invisible(name: str) -> Iterator[str]:
    middle, dot = 2, name.index(".")
    for char in IGNORED:
        for at in (middle, dot, dot + 1, len(name)):
            yield name[:at] + char + name[at:]


def _dots(name: str) -> Iterator[str]:
    for stop in FULL_STOPS:
        yield name.replace(".", stop)
        yield stop.join(name.rsplit(".", 1))
        yield name + stop
    yield name + "."
    yield name + ".."


def _mixed(name: str) -> Iterator[str]:
    u_labels, a_labels = name.split("."), a_label(name).split(".")
    for at in range(len(u_labels)):
        yield ".".join([*u_labels[:at], a_labels[at], *u_labels[at + 1 :]])
        yield ".".join([*a_labels[:at], u_labels[at], *a_labels[at + 1 :]])
    if "xn--" in a_label(name):
        yield a_label(name).replace("xn--", "\uff58n--", 1)
        yield a_label(name).replace("xn--", "x\u00adn--", 1)
        yield a_label(name).replace(".", "\u3002")


def spellings(name: str, *, chosen: int = 20) -> list[str]:
    """Spellings of a domain, the right ones among them, and `chosen` that are unusual in two ways."""
    ways = (_decomposed, _other_letters, _invisible, _dots, _mixed)
    found = [*right(name), *(text for way in ways for text in way(name))]
    dice = random.Random(name)  # noqa: S311, the same at each run
    for _ in range(chosen):
        one, two = dice.sample(ways, 2)
        text = dice.choice(list(one(name)))
        found.append(dice.choice(list(two(text))) if "." in text and any(char in _LETTERS for char in text) else text)
    return list(dict.fromkeys(found))
