"""Tables that one process reads for another: root for the owner of the state directory, who may not read them all.

A table of a type like mysql often has a password in it. Whoever asks gets what the tables that Postfix names say, and
of nothing else.
"""

from collections.abc import Iterable
from typing import Any

from closedmail.mta.lookup_chain import LookupChain
from closedmail.mta.own_tables import OwnTables, TableError
from closedmail.owner import Ask


class AskedTables(OwnTables):
    """The tables, as one who may read them answers."""

    def __init__(self, ask: Ask) -> None:
        """Remember whom to ask."""
        super().__init__("")
        self._ask = ask

    def rows(self, table: str) -> dict[str, str] | None:
        """List a table; None where its type can't be listed. Raises TableError."""
        if table not in self._listed:
            found = self._answer("rows", table)
            self._listed[table] = None if found is None else dict(found)
        return self._listed[table]

    def ask(self, table: str, keys: Iterable[str]) -> dict[str, str]:
        """Look keys up; return those that have a row. Raises TableError."""
        return dict(self._answer("ask", table, keys))

    def keys_of_text(self, table: str) -> list[str]:
        """List the keys of the text beside an indexed table that can't be listed; none where there is none."""
        return list(self._answer("keys", table))

    def _answer(self, what: str, table: str, keys: Iterable[str] = ()) -> Any:
        answer = self._ask([what, table, list(keys)])
        if "error" in answer:
            raise TableError(answer["error"])
        return answer["found"]


def answers_about(chain: LookupChain, config_directory: str) -> Ask:
    """Make the function that answers: of the tables that a Postfix names beside ours, whoever asks."""
    tables, named = OwnTables(config_directory), chain.own_tables()

    def answer(question: Any) -> Any:
        try:
            what, table, keys = question
            if table not in named:
                return {"error": "Postfix does not name it"}
            if what == "rows":
                return {"found": tables.rows(table)}
            return {"found": tables.ask(table, map(str, keys)) if what == "ask" else tables.keys_of_text(table)}
        except (TableError, TypeError, ValueError) as error:
            return {"error": str(error)}

    return answer
