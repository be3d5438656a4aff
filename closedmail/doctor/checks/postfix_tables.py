"""Check our maps in main.cf: named, of the right type and in the right order, and readable."""

import re
from collections.abc import Iterator

from closedmail.core.model import SHARED_TABLE
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.postfix_facts import PostfixFacts, Setting, settings_of
from closedmail.maps.unusual_spellings import TABLE as UNUSUAL
from closedmail.mta.map_types import SUFFIXES, TRANSPORT
from closedmail.mta.postfix_config import is_yes
from closedmail.mta.restrictions import split_list


def map_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find what is wrong with `transport_maps` and `smtp_tls_policy_maps`; nothing where no maps are made."""
    if not facts.config.postfix:
        return
    resolvers = [item for item in facts.postfix.services if item.command == "trivial-rewrite"]
    for setting in (
        settings_of(facts.postfix, resolvers, "transport_maps")
        if resolvers
        else (Setting(facts.postfix, "transport_maps"),)
    ):
        yield from _reference_findings(facts, setting, TRANSPORT)
    for setting in settings_of(facts.postfix, facts.shared_services, "smtp_tls_policy_maps"):
        yield from _reference_findings(facts, setting, SHARED_TABLE)
    yield from _file_findings(facts)
    yield from _parent_findings(facts)
    yield from _mapping_findings(facts)


def _path(facts: PostfixFacts, name: str) -> str:
    return f"{facts.config.postfix.map_dir.rstrip('/') if facts.config.postfix else ''}/{name}"


def _reference_findings(facts: PostfixFacts, setting: Setting, name: str) -> Iterator[Finding]:
    path = _path(facts, name)
    guard = f"regexp:{_path(facts, UNUSUAL)}" if name == TRANSPORT else ""
    items = [item for item in split_list(setting.value) if item != guard]
    ours = [item for item in items if _names(item, path)]
    raw = [item for item in split_list(setting.raw) if not _names(_expand(facts, item), path)]
    raw = [item for item in raw if _expand(facts, item) != guard]
    made = facts.map_types.of(name)
    table = f"{made[0]}:{path}"
    order = [*raw, table, guard] if guard else [table, *raw]
    fix = setting.set(", ".join(order))
    if not ours:
        what = "partners' mail leaves by the public MX" if name == TRANSPORT else "partners' mail may leave unencrypted"
        yield Finding.of(
            "transport-maps" if name == TRANSPORT else "tls-policy-maps",
            f"{setting} does not name {table}: {what}",
            fix,
        )
        return
    if guard and guard not in split_list(setting.value):
        yield Finding.of(
            "recipient-spellings",
            f"{setting} does not name {guard}: mail to a partner spelled in an unusual way (a decomposed "
            "umlaut, a soft hyphen) leaves by the public MX",
            fix,
        )
    wrong = [item for item in ours if _type(item) not in made]
    if wrong:
        yield Finding.of(
            "map-type",
            f"{setting} names {wrong[0]}, but sync makes tables of type {made[0]}",
            fix,
        )
        return
    at, others = items.index(ours[0]), [index for index, item in enumerate(items) if item not in ours]
    if name == TRANSPORT and others and at < max(others):
        yield Finding.of(
            "transport-order",
            f"{setting} has closedmail's table before your own, {items[max(others)]}: put yours first, so that "
            "no list routes what is yours",
            fix,
        )
    if name == SHARED_TABLE and at > 0:
        yield Finding.of(
            "tls-policy-order",
            f"{setting} has {items[0]} before closedmail's table: a row of yours loosens a partner's TLS policy",
            fix,
        )


def _expand(facts: PostfixFacts, item: str) -> str:
    """Expand `$name` of main.cf, as far as a table's name needs it."""
    return re.sub(r"\$\{?\(?(\w+)\)?\}?", lambda found: facts.postfix.main.get(found[1], found[0]), item)


def _names(item: str, path: str) -> bool:
    return item.removeprefix("proxy:").partition(":")[2].rstrip("/") == path


def _type(item: str) -> str:
    return item.removeprefix("proxy:").partition(":")[0]


def _file_findings(facts: PostfixFacts) -> Iterator[Finding]:
    tables = dict.fromkeys(rule.outbound.tls_table for rule in facts.rules if rule.outbound)
    for name in dict.fromkeys((TRANSPORT, SHARED_TABLE, *tables)):
        path = _path(facts, name)
        for kind in facts.map_types.of(name):
            yield from _index_findings(facts, path, path + SUFFIXES.get(kind, ""))
    yield from _index_findings(facts, _path(facts, UNUSUAL), _path(facts, UNUSUAL))


def _index_findings(facts: PostfixFacts, path: str, index: str) -> Iterator[Finding]:
    state = facts.machine.file(index)
    if not state.kind and not facts.machine.file(path).stopped_at:
        made = "as a text only" if facts.machine.file(path).kind else "not there"
        yield Finding.of(
            "map-missing",
            f"{index} is {made}: where main.cf names it, Postfix accepts no mail",
            (Fix.closedmail(facts.config, "sync"),),
        )
    elif state.stopped_at:
        mode = "0755" if facts.machine.file(state.stopped_at).kind == "folder" else "0644"
        yield Finding.of(
            "map-access",
            f"{index} can't be read by the user postfix, because of {state.stopped_at}",
            (Fix.chmod(mode, state.stopped_at),),
        )


def _parent_findings(facts: PostfixFacts) -> Iterator[Finding]:
    setting = Setting(facts.postfix, "parent_domain_matches_subdomains")
    items = split_list(setting.value)
    if "transport_maps" in items:
        rest = [item for item in items if item != "transport_maps"]
        yield Finding.of(
            "parent-domain-transport",
            f"{setting} contains transport_maps: rows for .domain are never found, and mail for what is below leaves",
            setting.set(", ".join(rest)),
        )


def _mapping_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find transitional mapping by UTS 46, which drops the joiners that some scripts need, and the table lets pass."""
    setting = Setting(facts.postfix, "enable_idna2003_compatibility")
    if is_yes(setting.value):
        yield Finding.of(
            "old-mapping",
            f"{setting} = yes: a joiner (U+200D) in a partner's name is dropped only after its row is looked up, and "
            "the mail leaves by the public MX",
            setting.set("no"),
        )
