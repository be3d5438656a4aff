"""Build HTML and SVG in which only `Markup` is markup: every other text is escaped where it goes in."""

from collections.abc import Iterable
from html import escape

from closedmail.words import printable

# Of HTML and SVG, those that are used here and have no end tag or no contents.
_VOID = ("meta", "circle", "line", "path", "rect")


class Markup(str):
    """A text that is markup already."""

    __slots__ = ()


Child = str | int | None


def element(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """Build an element. Children that are not Markup are escaped; children and attributes that are None are left out.

    In the names of attributes `_` means `-`, and one at the end nothing (`class_`).
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{given}>" if name == "meta" else f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Iterable[Child], between: str = "") -> Markup:
    """Join pieces."""
    return Markup(
        _escaped(between).join(
            child if isinstance(child, Markup) else _escaped(str(child)) for child in children if child is not None
        )
    )


def _escaped(text: str) -> str:
    """Escape a text, invisible characters too: some of them reverse the text beside them."""
    return escape(printable(text))


def _plain(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
