"""Check smtpd's restrictions for the policy check: present, before every permit, with a daemon that answers."""

from collections.abc import Iterator

from closedmail.core.where import socket_path, split_service
from closedmail.doctor.checks.policy_endpoint import (
    CHECK,
    Endpoint,
    best_endpoint,
    definition,
    endpoints,
    fails_closed,
    is_ours,
    queue_directory,
    resolve,
    unreachable,
)
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.finding_ids import Severity
from closedmail.doctor.postfix_facts import CHECK_LISTS, PostfixFacts, Setting, setting_of, settings_of
from closedmail.mta.postfix_config import Service, is_no
from closedmail.mta.restrictions import (
    WARN,
    PolicyClient,
    Restriction,
    parse_policy_client,
    parse_restrictions,
    result_permits,
    split_list,
    table_of,
    walk,
)

# The second list is for RCPT TO:<postmaster>, for whom Postfix skips all earlier ones.
_MISSING = {
    "smtpd_sender_restrictions": ("sender-restrictions", "mail in a partner's name passes unchecked"),
    "smtpd_data_restrictions": (
        "data-restrictions",
        "mail in a partner's name to a bare <postmaster> passes unchecked",
    ),
}


def check_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find all about the check and its place."""
    by_milter = _milter_suffices(facts)
    for setting in settings_of(facts.postfix, facts.guarded, *CHECK_LISTS):
        if by_milter and not _clients(facts, setting):
            continue
        yield from _list_findings(facts, setting)
    yield from _client_findings(facts)
    yield from _delay_findings(facts)
    yield from _milter_findings(facts)
    yield from _filter_findings(facts)


def _list_findings(facts: PostfixFacts, setting: Setting) -> Iterator[Finding]:
    service = _service_at(facts, setting)
    before: list[Restriction] = []
    for restriction in walk(setting.value, facts.postfix.classes):
        if is_ours(facts, restriction, service):
            if restriction.only_warns and any(rule.inbound.mode in ("enforce", "defer") for rule in facts.active):
                text = f"{setting}: warn_if_reject stands before the check, so that what it refuses is accepted"
                yield Finding.of("warn-if-reject", *_with_fix(facts, setting, text))
            break
        before.append(restriction)
    else:
        name, what = _MISSING[setting.name]
        yield Finding.of(name, *_with_fix(facts, setting, f"{setting} does not ask closedmail: {what}"))
        return
    permits = [(item, severity, why) for item in before for severity, why in _permits(facts, item)]
    if permits:
        severity: Severity = "error" if any(item[1] == "error" for item in permits) else "warning"
        what = ", ".join(f"{item}{why}" for item, _, why in permits)
        text = f"{setting}: closedmail is not asked about what is permitted before: {what}"
        yield Finding.of("check-after-permit", *_with_fix(facts, setting, text), severity=severity)


def _permits(facts: PostfixFacts, restriction: Restriction) -> Iterator[tuple[Severity, str]]:
    """Find whether it can end the list in the mail's favour, and why."""
    name = restriction.name.lower()
    if name.startswith("permit"):
        yield "error", ""
    elif name == "check_policy_service":
        yield "warning", " (may answer OK)"
    elif table := table_of(restriction):
        rows = facts.machine.table(table)
        if rows is None:
            yield "warning", " (may have rows that say OK)"
            return
        classes = facts.postfix.classes
        key = next((key for key, result in rows.items() if result_permits(result, classes)), None)
        if key is not None:
            yield "error", f" (has {key} {rows[key]})"


def _with_fix(facts: PostfixFacts, setting: Setting, text: str) -> tuple[str, tuple[Fix, ...]]:
    """Return the text, and the commands that put the check first: the list is then `$closedmail_check` and the rest."""
    endpoint = best_endpoint(facts)
    if endpoint is None:
        return f"{text}; {unreachable(facts)}", ()
    service = _service_at(facts, setting)
    rest: list[Restriction] = []
    for item in parse_restrictions(setting.raw):
        if not _is_check(facts, item, service):
            rest.append(item)
        elif rest and rest[-1].name == WARN:  # else it would be for what comes next
            rest.pop()
    value = ", ".join([f"${CHECK}", *map(str, rest)])
    fixes = setting.set(value)
    if not fixes:
        name = f"{setting.name.removesuffix('_restrictions')}_of_{setting.service.name if setting.service else ''}"
        name = "closedmail_" + "".join(char if char.isalnum() else "_" for char in name)
        # postconf -P takes no white space: the list goes into a parameter of main.cf.
        fixes = (facts.postconf("-e", f"{name} = {value}"), *setting.set(f"${name}"))
    return text, (*define(facts, endpoint), *fixes)


def define(facts: PostfixFacts, endpoint: Endpoint) -> tuple[Fix, ...]:
    """Make the command that corrects `closedmail_check`, () where it is right."""
    found = parse_restrictions(facts.postfix.main.get(CHECK, ""))
    if len(found) == 1 and found[0].name == "check_policy_service":
        client = parse_policy_client(found[0].argument)
        asked = {resolve(facts, client.endpoint, service) for service in facts.guarded}
        right = asked == {endpoint.where} or all(map(facts.machine.answers, asked))
        if right and all(fails_closed(client, service) for service in facts.guarded):
            return ()
    return (facts.postconf("-e", f"{CHECK} = {definition(endpoint)}"),)


def _is_check(facts: PostfixFacts, restriction: Restriction, service: Service) -> bool:
    """Check whether an item of a list, as written there, is the check."""
    if restriction.name.strip("${}()") == CHECK:
        return True
    return is_ours(facts, restriction, service)


def _service_at(facts: PostfixFacts, setting: Setting) -> Service:
    """Find a listener that takes its parameter from there."""
    if setting.service:
        return setting.service
    return next(item for item in facts.guarded if setting.name not in item.options)


def _clients(facts: PostfixFacts, setting: Setting) -> list[tuple[Restriction, PolicyClient]]:
    service = _service_at(facts, setting)
    return [
        (item, parse_policy_client(item.argument))
        for item in walk(setting.value, facts.postfix.classes)
        if is_ours(facts, item, service)
    ]


def _client_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Judge each way in which the check is written, once."""
    known = {item.where for item in endpoints(facts)}
    seen = set()
    for service in facts.guarded:
        for name in CHECK_LISTS:
            setting = setting_of(facts.postfix, service, name)
            for _, client in _clients(facts, setting):
                where = resolve(facts, client.endpoint, service)
                for finding in _judge(facts, setting, service, client, where, known):
                    if (finding.id, client.endpoint) not in seen:
                        seen.add((finding.id, client.endpoint))
                        yield finding


def _judge(
    facts: PostfixFacts, setting: Setting, service: Service, client: PolicyClient, where: str, known: set[str]
) -> Iterator[Finding]:
    if not fails_closed(client, service):
        text = (
            f"{setting}: while policyd does not answer, mail passes unchecked, by the check's default_action or "
            "smtpd_policy_service_default_action"
        )
        yield Finding.of("default-action", *_with_fix(facts, setting, text))
    path = socket_path(where)
    if facts.machine.answers(where):
        state = facts.machine.file(path) if path else None
        if state and state.stopped_at:
            yield Finding.of(
                "socket-access",
                f"the user postfix may not use {path}, because of {state.stopped_at}: write socket_group = "
                '"postfix" into [policyd] and restart policyd',
                _access_fix(facts, path, state.stopped_at),
            )
    elif best_endpoint(facts) is None:
        return  # which is reported for the socket itself
    elif client.endpoint.startswith("unix:/") and service.chroot:
        text = f"{setting} asks {client.endpoint}, and smtpd, which is chrooted, looks for {path}"
        yield Finding.of("socket-chroot", *_with_fix(facts, setting, text))
    elif where not in known or any(map(facts.machine.answers, known)):
        text = f"{setting} asks {client.endpoint}, where policyd does not listen"
        yield Finding.of("socket-path", *_with_fix(facts, setting, text))


def _access_fix(facts: PostfixFacts, path: str, stopped_at: str) -> tuple[Fix, ...]:
    if stopped_at != path and stopped_at.startswith((queue_directory(facts), "/run/")):
        return (Fix.chmod("o+x", stopped_at),)
    return ()


def _delay_findings(facts: PostfixFacts) -> Iterator[Finding]:
    for setting in settings_of(facts.postfix, facts.guarded, "smtpd_delay_reject"):
        if is_no(setting.value):
            yield Finding.of(
                "delay-reject",
                f"{setting} = no: mail is refused before its recipient is known, which the log then lacks",
                setting.set("yes"),
            )


def _milter_suffices(facts: PostfixFacts) -> bool:
    """Check whether our milter decides on all listeners, and no rule needs what Postfix does not send to a milter."""
    pins = (pin for rule in facts.active for pin in rule.inbound.certificates)
    if any(pin.fingerprint or pin.pubkey_fingerprint for pin in pins):
        return False
    return bool(facts.guarded) and all(_milters(facts, item) for item in facts.guarded)


def _milters(facts: PostfixFacts, service: Service) -> list[PolicyClient]:
    """Find our milter among those of a listener; they are written like policy services."""
    known = set(facts.config.milter.listen)
    clients = map(parse_policy_client, split_list(service.get("smtpd_milters")))
    return [
        item for item in clients if "closedmail" in item.endpoint or resolve(facts, item.endpoint, service) in known
    ]


def _milter_findings(facts: PostfixFacts) -> Iterator[Finding]:
    pinned = any(rule.inbound.certificates for rule in facts.active)
    found: dict[str, Finding] = {}
    for service in facts.guarded:
        milters = _milters(facts, service)
        setting = setting_of(facts.postfix, service, "milter_default_action")
        actions = {item.attributes.get("default_action", setting.value).lower() for item in milters}
        if "accept" in actions:
            text = f"{setting} = accept: while closedmail's milter does not answer, mail passes unchecked"
            found.setdefault("default", Finding.of("milter-default-action", text, setting.set("tempfail")))
        setting = setting_of(facts.postfix, service, "milter_macro_v")
        if milters and pinned and not setting.value.startswith("Postfix"):
            text = (
                f"{setting} = {setting.value or 'nothing'}: by it the milter does not see that this is Postfix, and "
                "leaves certificates out of account"
            )
            found.setdefault("name", Finding.of("milter-macro", text, setting.set("Postfix")))
    yield from found.values()


def _filter_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Judge listeners for a content filter: mail that comes back was checked before, and its client is the filter."""
    for service in facts.postfix.listeners:
        if not facts.takes_back(service):
            continue
        asked = [name for name in CHECK_LISTS if _clients(facts, Setting(facts.postfix, name, service))]
        if asked:
            fix = tuple(facts.postconf("-P", f"{service.key}/{name}=") for name in asked)
            text = (
                f"{service.key} in master.cf takes mail back from a content filter and asks closedmail again "
                f"({', '.join(asked)}): there the client is the filter, and mail that was accepted is bounced"
            )
            yield Finding.of("reinjection-check", text, fix)
        elif not service.on_loopback:
            # A filter on another machine has to reach it: then others must not.
            known = "reject" in split_list(service.options.get("smtpd_client_restrictions", ""))
            _, port = split_service(service.name)
            text = (
                f"{service.key} in master.cf takes mail without the check, as from a content filter, and not on "
                f"loopback alone: put 127.0.0.1:{port} in place of {service.name}"
            )
            severity: Severity = "warning" if known else "error"
            fix = _rebind(facts, service, port)
            yield Finding.of("reinjection-exposed", text, fix, severity=severity, by_hand=known)


def _rebind(facts: PostfixFacts, service: Service, port: str) -> tuple[Fix, ...]:
    """Make the commands that rewrite an entry to listen on loopback."""
    chroot = "y" if service.chroot else "n"
    options = [
        f"-o {{ {name} = {value} }}" if " " in value else f"-o {name}={value}"
        for name, value in service.options.items()
    ]
    entry = " ".join((f"127.0.0.1:{port} inet n - {chroot} - - smtpd", *options))
    return (
        facts.postconf("-M", f"127.0.0.1:{port}/inet={entry}"),
        facts.postconf("-MX", service.key),
    )
