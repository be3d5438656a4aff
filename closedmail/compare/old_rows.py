"""Parse the text of an old table: rows as postmap(1) and makemap(8) read them."""

from collections.abc import Iterable


def parse_text(lines: Iterable[str]) -> dict[str, str]:
    """Parse rows by their keys, in lower case; of two with one key the first counts. A line may go on in the next."""
    logical: list[str] = []
    for line in lines:
        text = line.rstrip()
        if not text or text.lstrip().startswith("#"):
            continue
        if text[0] in " \t" and logical:
            logical[-1] += " " + text.strip()
        else:
            logical.append(text.strip())
    rows: dict[str, str] = {}
    for text in logical:
        key, _, value = text.replace("\t", " ").partition(" ")
        rows.setdefault(key.lower(), value.strip())
    return rows
