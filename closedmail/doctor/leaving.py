"""Decide what mail leaves by another way once closedmail's transport tables are no longer asked. Pure.

postqueue(1), "-j": one JSON object a message, with `queue_name`, `queue_id` and `recipients`. transport(5), "TABLE
SEARCH ORDER": the address, with and without its extension, the domain, then each parent domain behind a dot.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from closedmail.mta.restrictions import split_list
from closedmail.words import counted, printable

_MOST_NAMES = 20  # domains that are named in one sentence


@dataclass(frozen=True, slots=True)
class WaitingMail:
    """A mail of the queue: its id, whether it is on hold, and who waits for it."""

    queue_id: str
    on_hold: bool
    recipients: tuple[str, ...]


def parse_queue(text: str) -> list[WaitingMail]:
    """Parse the output of `postqueue -j`. Raises ValueError for anything else."""
    found: dict[str, WaitingMail] = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            recipients = tuple(str(each["address"]) for each in item["recipients"])
            mail = WaitingMail(str(item["queue_id"]), item["queue_name"] == "hold", recipients)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not what postqueue prints: {error!r}") from None
        found[mail.queue_id] = mail  # one that moves meanwhile is listed twice
    return list(found.values())


def tables_of(values: Iterable[str]) -> dict[str, None]:
    """Collect the tables that values of transport_maps name, each once, in their order."""
    return dict.fromkeys(table for value in values for table in split_list(value))


def keys_of(recipient: str) -> Iterator[str]:
    """Make all keys by which a transport table may have a recipient."""
    yield recipient
    local, at, domain = recipient.rpartition("@")
    if not at:
        return
    if "+" in local[1:]:
        yield f"{local[0]}{local[1:].partition('+')[0]}@{domain}"
    while domain:
        yield domain
        _, dot, parent = domain.lstrip(".").partition(".")
        domain = f".{parent}" if dot else ""


def leaving_mails(queue: Iterable[WaitingMail], found: Iterable[str]) -> list[WaitingMail]:
    """Find the mails of the queue for which a table has a row; of their recipients only those."""
    known, leaving = frozenset(found), []
    for mail in queue:
        theirs = tuple(each for each in mail.recipients if not known.isdisjoint(keys_of(each)))
        if theirs:
            leaving.append(WaitingMail(mail.queue_id, mail.on_hold, theirs))
    return leaving


def say_rows(rows: Mapping[str, str]) -> Iterator[str]:
    """Say which domains a table sent on a way of its own, and which it sent nowhere."""
    names = {key.lstrip(".") for key in rows}
    yield (
        f"Mail to {counted(len(names), 'domain')} will leave as your other settings say: by the Internet, where "
        "nothing else routes it."
    )
    stayed = sorted({key.lstrip(".") for key, value in rows.items() if value.startswith(("retry:", "error:"))})
    if stayed:
        rest = len(stayed) - _MOST_NAMES
        more = f" and {rest} more" if rest > 0 else ""
        shown = ", ".join(map(printable, stayed[:_MOST_NAMES]))
        yield f"Held or refused until now, and no longer: {shown}{more}."


def say_mail(mail: WaitingMail, *, release: bool, postsuper: str) -> str:
    """Say of a mail that waits what becomes of it; `postsuper` is how one calls that program here."""
    whom = f"{mail.queue_id} waits for {', '.join(map(printable, mail.recipients))}"
    if release and not mail.on_hold:
        return f"{whom}: it will leave as your other settings say."
    state = "on hold already" if mail.on_hold else "put on hold"
    return f"{whom}: {state}; to send it, run: {postsuper} -H {mail.queue_id}"
