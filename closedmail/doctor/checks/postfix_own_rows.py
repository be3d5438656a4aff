"""Check the administrator's own tables for rows that stand in front of a partner's route or TLS policy."""

from collections.abc import Iterator

from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_facts import PostfixFacts
from closedmail.maps.own_rows import OwnRow, sentence


def own_row_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find tables with such rows, one finding a table, and those of which that is not known."""
    for table, rows in facts.own_rows.by_table().items():
        yield Finding.of(
            "partner-overridden",
            f"{sentence(table, rows)}: {_advice(facts, rows)}",
        )
    for table, reason in facts.own_rows.unread:
        yield Finding.of(
            "own-table",
            f"{table} can't be read by this user ({reason}): whether it has rows for partners is not known; run doctor "
            "as root, or look for yourself",
        )


def _advice(facts: PostfixFacts, rows: list[OwnRow]) -> str:
    if rows[0].kind == "tls":
        return "take them out, and run postmap"
    compare = facts.config.command("compare", rows[0].table)
    return f"take them out, and run postmap; {compare} shows all, and what the list says"
