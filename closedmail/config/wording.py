"""Spell keys and values for error messages: always one line, always short, whatever the file holds."""

import re

from closedmail.words import LONGEST_QUOTE, quote

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def join(parent: str, name: str) -> str:
    """Spell the full key of `name` in the table `parent` ("" for the file); names that are no bare keys are quoted."""
    spelled = name if _BARE_KEY.fullmatch(name) and len(name) <= LONGEST_QUOTE else quote(name)
    return f"{parent}.{spelled}" if parent else spelled


def describe(value: object) -> str:
    """Describe what the file has where something else was expected."""
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int):
        # Python refuses to print integers of more than 4,300 digits, and nobody would read them.
        return f"the integer {value}" if abs(value) < 10**20 else "a huge integer"
    if isinstance(value, float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the string {quote(value)}"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "a table"
    return "a date or time"


def one_of(words: tuple[str, ...]) -> str:
    """Spell a list of allowed values, each in quotes."""
    return ", ".join(map(quote, words))
