"""Find the line of each key in a TOML file that tomllib has read, which itself does not say where anything stood."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import TypeVar

from closedmail.config.wording import join

T = TypeVar("T")

# What may hold a bracket, an equals sign or a line's end that means nothing: strings and comments (TOML 1.0).
_TOKEN = re.compile(
    r"""
      (?P<text> \"{3} (?: \\. | [^\\] )*? \"{3,5} | '{3} .*? '{3,5}
              | " (?: \\. | [^"\\\n] )* " | ' [^'\n]* ' )
    | (?P<comment> \# [^\n]* )
    | (?P<open> [\[{] ) | (?P<close> [\]}] ) | (?P<equals> = ) | (?P<end> \n )
    | (?P<other> [^\[\]{}="'\#\n]+ )
    """,
    re.VERBOSE | re.DOTALL,
)


def key_lines(text: str) -> dict[str, int]:
    """Map each table and key of a valid TOML text, spelled in full as in errors, to the line where it first stands.

    The keys of inline tables are not among them.
    """
    lines: dict[str, int] = {}
    table = ""
    for number, statement, ends_at in _statements(text):
        if statement.lstrip().startswith("["):
            table = _spell("", statement)
            lines.setdefault(table, number)
        elif ends_at:
            lines.setdefault(_spell(table, statement[:ends_at] + "= 0"), number)
    return lines


def nearest(known: Mapping[str, T], key: str) -> T | None:
    """Find what is known of a key, or else of the array or table around it; None where that is nothing."""
    for end in range(len(key), 0, -1):
        if (end == len(key) or key[end] in ".[") and key[:end] in known:
            return known[key[:end]]
    return None


def _statements(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield each statement: its first line, its text, and where in it the first equals sign stands, 0 for none."""
    begin, first, line, depth, equals = 0, 1, 1, 0, 0
    for token in _TOKEN.finditer(text):
        depth += (token.lastgroup == "open") - (token.lastgroup == "close")
        if token.lastgroup == "equals" and not depth and not equals:
            equals = token.start() - begin
        line += token[0].count("\n")
        if token.lastgroup == "end" and not depth:
            yield first, text[begin : token.start()], equals
            begin, first, equals = token.end(), line, 0
    yield first, text[begin:], equals


def _spell(table: str, statement: str) -> str:
    """Spell the full key that a statement opens or sets. tomllib reads the key: it knows quotes, dots and escapes."""
    value: object = tomllib.loads(statement)
    while (isinstance(value, list) and value) or (isinstance(value, dict) and value):
        if isinstance(value, list):
            value = value[0]
            continue
        name, value = next(iter(value.items()))
        table = join(table, name)
    return table
