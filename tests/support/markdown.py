"""Read what our pages in Markdown are made of: code blocks, headings, and links."""

import re
from collections import Counter
from pathlib import Path

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_blocks(text: str, *languages: str) -> list[str]:
    """The fenced blocks in those languages ("" for none named), or all."""
    return [body for language, body in _BLOCK.findall(text) if not languages or language in languages]


def prose(text: str) -> str:
    """The text without its fenced blocks, in which nothing is a heading or a link."""
    return _BLOCK.sub("", text)


def code_spans(text: str) -> list[str]:
    """What stands between backquotes in a line, or over the end of one."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(text))]


def headings(text: str) -> list[str]:
    """The headings of sections, without that of the page."""
    return re.findall(r"^##+ (.*)$", prose(text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The names by which links reach the headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE):
        name = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def links(text: str) -> list[str]:
    """The targets of its links to our own files and sections."""
    without_code = re.sub(r"`[^`]+`", "", prose(text))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", without_code) if not re.match(r"[a-z]+:", link)]


def dead_links(page: Path) -> list[str]:
    """Those of its links that lead to no file, or to no heading of one."""
    return [link for link in links(page.read_text(encoding="utf-8")) if not _reaches(page, link)]


def _reaches(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors(target.read_text(encoding="utf-8")))
