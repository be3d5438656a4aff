"""Nothing that moves a terminal, ends a line for some reader or turns text around gets from a list into an export."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.core_samples import configuration
from support.export_samples import published, texts_of

from closedmail.core.model import CertificatePin, Inbound
from closedmail.exports.target import ExportRequest
from closedmail.exports.targets import TARGETS

REQUEST = ExportRequest("mx", "/etc/closedmail-export", relays=("mx.city.example",))

# C0 but for the end of a line, DEL, C1 with U+0085, separators, marks and overrides of direction, and a letter.
UNSEEN = st.sampled_from(
    [*map(chr, (*range(1, 10), *range(11, 0x20), *range(0x7F, 0xA0))), *"\u200b\u200e\u2028\u2029\ufeff\u202e\u2066ü"]
)
TEXTS = st.lists(UNSEEN, min_size=1, max_size=5).map(lambda chars: "x".join(["a", *chars, "b"]))
# Where a list has text of its own: after an error, around a route, in a key, in a comment.
LINES = st.sampled_from(
    [
        "kiel.example\terror:5.1.2:{}\n",
        "kiel.example\terror:{}\n",
        "kiel.example\tesmtp:[192.0.2.1]{}\n",
        "kiel.example\tesmtp:{}[192.0.2.1]\n",
        "kiel{}.example\tesmtp:[192.0.2.1]\n",
        "kiel.example{}\tesmtp:[192.0.2.1]\n",
        "# {}\n",
    ]
)


@pytest.mark.parametrize("name", sorted(TARGETS))
@settings(max_examples=25)
@given(lines=st.lists(st.tuples(LINES, TEXTS), min_size=1, max_size=3))
def test_what_a_list_brings(name: str, lines: list[tuple[str, str]]) -> None:
    made = published(
        configuration(), "".join(line.format(text) for line, text in lines) + "a.example esmtp:[192.0.2.9]\n"
    )
    for text in texts_of(TARGETS[name], made, request=REQUEST).values():
        assert text.replace("\r\n", "\n").replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize("char", ["\u2028", "\x85", "\u202e"])
def test_what_the_configuration_brings(char: str) -> None:
    """A certificate's subject stands in csv and json: one row is one line, however a reader splits."""
    made = published(configuration(), "a.example esmtp:[192.0.2.9]\n")
    pinned = Inbound("enforce", require="cert", certificates=(CertificatePin(subject=f"a{char}b"),))
    made = replace(made, rules=tuple(replace(rule, inbound=pinned) for rule in made.rules))
    (text,) = texts_of(TARGETS["csv"], made).values()
    assert char not in text
    assert len(text.splitlines()) == text.count("\n")
    (text,) = texts_of(TARGETS["json"], made).values()
    assert f"a{char}b" in json.dumps(json.loads(text), ensure_ascii=False)
