"""Check our maps in main.cf: named, of the right type and in the right order, and readable."""

import re
from collections.abc import Iterator

from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.postfix_facts import PostfixFacts, Setting, settings_of
from closedmail.maps.unusual_spellings import TABLE as UNUSUAL
from closedmail.mta.postfix_config import Service
from closedmail.mta.restrictions import split_list

TRANSPORT, TLS_POLICY = "transport", "tls_policy"
# How postmap names what it makes.
_INDEX = {"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb", "dbm": ".pag", "sdbm": ".pag"}


def map_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find what is wrong with `transport_maps` and `smtp_tls_policy_maps`; nothing where no maps are made."""
    if not facts.config.postfix:
        return
    yield from _reference_findings(facts, Setting(facts.postfix, "transport_maps"), TRANSPORT)
    for setting in settings_of(facts.postfix, closed_services(facts), "smtp_tls_policy_maps"):
        yield from _reference_findings(facts, setting, TLS_POLICY)
    yield from _file_findings(facts)
    yield from _parent_findings(facts)
    yield from _mapping_findings(facts)


def closed_services(facts: PostfixFacts) -> list[Service]:
    """Find the entries of master.cf that deliver to partners."""
    names = dict.fromkeys(rule.outbound.transport for rule in facts.rules if rule.outbound)
    return [service for name in names if (service := facts.postfix.service(name))]


def _path(facts: PostfixFacts, name: str) -> str:
    return f"{facts.config.postfix.map_dir.rstrip('/') if facts.config.postfix else ''}/{name}"


def _reference_findings(facts: PostfixFacts, setting: Setting, name: str) -> Iterator[Finding]:
    path = _path(facts, name)
    guard = f"regexp:{_path(facts, UNUSUAL)}" if name == TRANSPORT else ""
    items = [item for item in split_list(setting.value) if item != guard]
    ours = [item for item in items if _names(item, path)]
    raw = [item for item in split_list(setting.raw) if not _names(_expand(facts, item), path)]
    raw = [item for item in raw if _expand(facts, item) != guard]
    table = f"{facts.map_type}:{path}"
    fix = setting.set(", ".join([*raw, table, guard] if guard else [table, *raw]))
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
    wrong = [item for item in ours if _type(item) != facts.map_type]
    if wrong:
        yield Finding.of(
            "map-type",
            f"{setting} names {wrong[0]}, but sync makes tables of type {facts.map_type}",
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
    if name == TLS_POLICY and at > 0:
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
    for name in (TRANSPORT, TLS_POLICY, UNUSUAL):
        path = _path(facts, name)
        index = path + (_INDEX.get(facts.map_type, "") if name != UNUSUAL else "")
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
    if setting.value == "yes":
        yield Finding.of(
            "idna2003",
            f"{setting} = yes: a joiner (U+200D) in a partner's name is dropped only after its row is looked up, and "
            "the mail leaves by the public MX",
            setting.set("no"),
        )
