"""closedmail-mailertable(5): each row of its tables, line and outcome, is put to the real parser and the real maps."""

import re
from collections.abc import Iterator

import pytest
from support import core_samples as samples
from support.man_pages import FOLDER, Item, Page, plain, quoted

from closedmail.config import parse
from closedmail.core.domain import DomainSet
from closedmail.core.model import Config
from closedmail.mailertable.makemap_limits import MAX_LINE
from closedmail.maps.postfix_transport import transport_rows
from closedmail.maps.sendmail_mailertable import mailertable_rows

PAGE = Page(FOLDER / "closedmail-mailertable.5")
ROUTE, REFUSE = "LINES THAT ROUTE", "LINES THAT REFUSE"
RULE, HOLD, NOBODY = "LINES SKIPPED BY RULE", "BAD LINES THAT HOLD THEIR DOMAIN", "BAD LINES THAT HOLD NOBODY"
TWICE = "SEVERAL LINES FOR ONE DOMAIN"
# How many rows each table has: one that the pattern below no longer finds is missed.
ROWS = {ROUTE: 13, REFUSE: 9, RULE: 8, HOLD: 23, NOBODY: 6, TWICE: 3}


def rows() -> Iterator[tuple[Item, list[str]]]:
    """The rows of all tables, with their lines of a list."""
    for item in PAGE.items:
        if item.head.startswith('Li "'):
            yield item, [plain(line) for line in re.findall(r'Li "([^"]*)"', item.head)]


def table_config() -> Config:
    """The configuration that the page names for its tables."""
    (text,) = PAGE.literal_blocks("DESCRIPTION")
    return parse(text)


def test_number_of_rows() -> None:
    """All rows are found."""
    counts = dict.fromkeys(ROWS, 0)
    for item, _ in rows():
        counts[item.section] += 1
    assert counts == ROWS


@pytest.mark.parametrize(
    ("item", "lines"), list(rows()), ids=lambda value: value[-1] if isinstance(value, list) else ""
)
def test_row(item: Item, lines: list[str]) -> None:
    """The lines become what the row says: in Postfix's map, in Sendmail's, or a reason why not."""
    config, said = table_config(), quoted(item.body)
    own = DomainSet(config.gateway.own_domains)
    listing = samples.read("\n".join(lines), own=config.gateway.own_domains)
    generation = samples.advance(config, listing)
    postfix, sendmail = dict(transport_rows(generation, own)), dict(mailertable_rows(generation, own, {}))
    assert [skipped.reason for skipped in listing.skipped] == said.get("Reason:", [])
    assert [skipped.bad for skipped in listing.skipped] == [item.section != RULE] * len(listing.skipped)
    if item.section in (RULE, NOBODY):
        assert listing.skipped
        assert not postfix
        assert not sendmail
        return
    if item.section == HOLD:
        said |= {name: quoted(first_of(HOLD).body)[name] for name in ("Postfix", "Sendmail")}
        assert samples.held(generation) == list(postfix)
    else:
        assert not samples.held(generation)
    keys = set(said.get("Keys", [lines[0].split()[0].removesuffix(".")]))
    assert postfix.keys() == sendmail.keys() == keys
    assert set(postfix.values()) == set(said["Postfix"])
    assert set(sendmail.values()) == set(said["Sendmail"])


def first_of(section: str) -> Item:
    """The first row of a table; that of held domains says what all of them get."""
    return next(item for item, _ in rows() if item.section == section)


def test_longest_line() -> None:
    """The number in the text."""
    assert f"more than {MAX_LINE:,} bytes" in PAGE.source
