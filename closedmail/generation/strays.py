"""Hold the partners that have no list any more, and say so: whatever took them away, their mail must not leave."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from closedmail.core.hold_reason import Why
from closedmail.core.model import Config, Inbound
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.generation.difference import Previous
from closedmail.generation.generation import Generation

# Of a partner that is only known from a row of the maps: what its mail has to prove is not known, and so not asked for.
UNKNOWN_RULE = Rule("", "unknown network", Inbound(mode="off"), None)
_NAMED = 5


def hold_strays(
    generation: Generation, config: Config, strays: Mapping[str, Entry], previous: Previous, now: int
) -> None:
    """Hold `strays` (`difference.Comparison`) under the rules that they had, until they are released.

    A key that another network, a `[partner]` table or `closed_domains` has now is no stray. Holds end only where a
    network's newest list was verified, so that these never end by themselves. Records refer to rules of `previous`.
    """
    numbers: dict[Rule, int] = {}
    sources: dict[str, list[str]] = {}
    changes = generation.changes[""]
    for key, old in strays.items():
        if generation.get(key) is not None or key.removeprefix(".") in generation.closed:
            continue
        rule = replace(previous.rules[old.rule], network="", partner="")
        number = numbers.get(rule)
        if number is None:
            number = numbers[rule] = len(generation.rules)
            generation.rules.append(rule)
        since = old.since if old.state is State.HELD and old.why is Why.LOST and old.since else now
        entry = Entry(number, old.value, -1, State.HELD, Why.LOST, since, 0)
        generation.special[key] = generation.beyond[key] = entry
        sources.setdefault(_cause(key, old, previous), []).append(key)
    for cause, keys in sorted(sources.items()):
        changes.notes.append(
            f"held: {_named(sorted(keys))}: {cause}; let them go with: {config.command('release')} DOMAIN…, or route "
            "them by a network's list or a [partner] table"
        )


def _cause(key: str, old: Entry, previous: Previous) -> str:
    if key in previous.standing:
        return "a row for it stands in map_dir, and nobody lists it"
    if old.network >= 0:
        return f"the network {previous.networks[old.network]} had it, which is no longer configured or has no list"
    return "it was held before, and the network that had it is no longer configured or not known"


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
