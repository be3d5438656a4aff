"""Write the status as Prometheus metrics, for node_exporter's textfile collector.

No name is one of `metrics_listen` (`policyd/metrics.py`): a server that scrapes both counts nothing twice.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from closedmail.daemon.exposition import Family, exposition
from closedmail.files import replace_file
from closedmail.inbound.counters import ALONE
from closedmail.status.list_state import usable_keys
from closedmail.status.problems import STATES
from closedmail.status.status import Status


def write_textfile(path: Path, text: str) -> None:
    """Replace the file in one step, readable for everybody. Raises OSError, and then the old one stands."""
    replace_file(path, [text.encode()], 0o644)


def render_textfile(status: Status, now: int) -> str:
    """Render the file. `now` is Unix time."""
    return exposition(families(status, now))


def families(status: Status, now: int) -> Iterator[Family]:
    """Make all metrics. `now` is Unix time."""
    state = Family("closedmail_state", "gauge", "What status finds: 0 ok, 1 warning, 2 critical.")
    state.add(STATES.index(status.state))
    yield state
    looked = Family("closedmail_state_timestamp_seconds", "gauge", "When this was written, in Unix time.")
    looked.add(now)
    yield looked
    number = Family("closedmail_in_force_generation", "gauge", "Generation in force, 0 for none.")
    number.add(status.generation or 0)
    yield number
    since = Family("closedmail_in_force_timestamp_seconds", "gauge", "When it was published, in Unix time.")
    if status.generation:
        since.add(status.published_at)
    yield since
    yield from _networks(status)
    yield _mails(status)


def _networks(status: Status) -> Iterator[Family]:
    """Make those of networks; what has no time yet, or no limit, has no sample."""
    found = Family("closedmail_network_state", "gauge", "State of a network: 0 ok, 1 warning, 2 critical.")
    domains = Family("closedmail_network_domains", "gauge", "List keys in force, held ones not counted.")
    held = Family("closedmail_held_domains", "gauge", 'Domains held; network "-": partners that stand alone.')
    refused = Family("closedmail_network_refused", "gauge", "1 where the last sync refused the list, by its code.")
    signed = Family("closedmail_network_signed_timestamp_seconds", "gauge", "When the list in force was signed.")
    fetched = Family("closedmail_network_fetched_timestamp_seconds", "gauge", "When a fetch last succeeded.")
    signed_limit = Family("closedmail_network_max_age_seconds", "gauge", "How old a signature may be (max_age).")
    fetched_limit = Family("closedmail_network_fetch_max_age_seconds", "gauge", "How long ago (fetch_max_age).")
    usable = Family("closedmail_network_usable_keys", "gauge", "Pinned keys that can sign.")
    expiry = Family("closedmail_network_key_expiry_timestamp_seconds", "gauge", "When a pinned key expires.")
    held.add(len(status.held), network=ALONE)
    for name, item in status.networks.items():
        found.add(STATES.index(item.found.state), network=name)
        domains.add(item.domains, network=name)
        held.add(len(item.held), network=name)
        refused.add(1 if item.refused else 0, network=name, code=item.refused)
        if item.keys:
            usable.add(len(usable_keys(item.keys)), network=name)
        for family, value in (
            (signed, item.signed_at),
            (fetched, item.fetched_at),
            (signed_limit, item.max_age),
            (fetched_limit, item.fetch_max_age),
        ):
            if value:
                family.add(value, network=name)
        for key in item.keys:
            if key.expires_at is not None:
                expiry.add(key.expires_at, network=name, fingerprint=key.fingerprint)
    yield from (found, domains, held, refused, signed, fetched, signed_limit, fetched_limit, usable, expiry)


def _mails(status: Status) -> Family:
    """Make those of mails, as the front ends saved them last, without partners: there may be tens of thousands."""
    mails = Family("closedmail_mails_total", "counter", "Mails in a partner's name, as the daemons saved them last.")
    for front_end, counters in status.traffic.by_front_end.items() if status.traffic else ():
        total: Counter[tuple[str, str, str]] = Counter()
        for series, count in counters:
            total[series.network, series.verdict, series.reason] += count
        for (network, verdict, reason), count in sorted(total.items()):
            mails.add(count, door=front_end, network=network, verdict=verdict, reason=reason)
    return mails
