"""The check in smtpd's restrictions: there, in front of every permit, asking where somebody answers."""

from collections.abc import Iterator

from closedmail.core.where import split_service
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
)
from closedmail.doctor.finding import Finding, Severity
from closedmail.mta.postfix_facts import CHECK_LISTS, Facts, Place, Service, place_of, places
from closedmail.mta.restrictions import (
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
    "smtpd_data_restrictions": ("data-restrictions", "such mail to <postmaster>, without a domain, passes unchecked"),
}


def check_findings(facts: Facts) -> Iterator[Finding]:
    """All about the check and its place."""
    by_milter = _milter_suffices(facts)
    for place in places(facts.postfix, facts.guarded, *CHECK_LISTS):
        if by_milter and not _clients(facts, place):
            continue
        yield from _place_findings(facts, place)
    yield from _client_findings(facts)
    yield from _delay_findings(facts)
    yield from _milter_findings(facts)
    yield from _filter_findings(facts)


def _place_findings(facts: Facts, place: Place) -> Iterator[Finding]:
    service = _service_at(facts, place)
    before: list[Restriction] = []
    for restriction in walk(place.value, facts.postfix.classes):
        if is_ours(facts, restriction, service):
            break
        before.append(restriction)
    else:
        name, what = _MISSING[place.name]
        yield Finding(name, "error", *_with_fix(facts, place, f"{place} does not ask closedmail: {what}"))
        return
    permits = [(item, severity, why) for item in before for severity, why in _permits(facts, item)]
    if permits:
        severity: Severity = "error" if any(item[1] == "error" for item in permits) else "warning"
        what = ", ".join(f"{item}{why}" for item, _, why in permits)
        text = f"{place}: closedmail is not asked about what is permitted before: {what}"
        yield Finding("check-after-permit", severity, *_with_fix(facts, place, text))


def _permits(facts: Facts, restriction: Restriction) -> Iterator[tuple[Severity, str]]:
    """Whether it can end the list in the mail's favour, and why one thinks so."""
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


def _with_fix(facts: Facts, place: Place, text: str) -> tuple[str, tuple[str, ...]]:
    """The text, and the commands that put the check first in a list, which is then `$closedmail_check` and the rest."""
    endpoint = best_endpoint(facts)
    if endpoint is None:
        return f"{text}; {unreachable(facts)}", ()
    service = _service_at(facts, place)
    rest = [item for item in parse_restrictions(place.raw) if not _is_check(facts, item, service)]
    value = ", ".join([f"${CHECK}", *map(str, rest)])
    setting = place.set(value)
    if not setting:
        name = f"{place.name.removesuffix('_restrictions')}_of_{place.service.name if place.service else ''}"
        name = "closedmail_" + "".join(char if char.isalnum() else "_" for char in name)
        # postconf -P takes no white space: the list goes into a parameter of main.cf.
        setting = (facts.postfix.postconf("-e", f"{name} = {value}"), *place.set(f"${name}"))
    return text, (*define(facts, endpoint), *setting)


def define(facts: Facts, endpoint: Endpoint) -> tuple[str, ...]:
    """The command that makes `closedmail_check` right, () where it is."""
    found = parse_restrictions(facts.postfix.main.get(CHECK, ""))
    if len(found) == 1 and found[0].name == "check_policy_service":
        client = parse_policy_client(found[0].argument)
        asked = {resolve(facts, client.endpoint, service) for service in facts.guarded}
        right = asked == {endpoint.where} or all(map(facts.machine.answers, asked))
        if right and all(fails_closed(client, service) for service in facts.guarded):
            return ()
    return (facts.postfix.postconf("-e", f"{CHECK} = {definition(endpoint)}"),)


def unreachable(facts: Facts) -> str:
    """What to do where no socket of policyd's can be found by smtpd."""
    path = f"{queue_directory(facts)}/closedmail/policy.sock"
    return (
        f'smtpd is chrooted and finds no socket outside of its queue directory: write listen = ["unix:{path}"] and '
        'socket_group = "postfix" into [policyd], and restart policyd'
    )


def _is_check(facts: Facts, restriction: Restriction, service: Service) -> bool:
    """Whether an item of a list, as it stands there, is the check."""
    if restriction.name.strip("${}()") == CHECK:
        return True
    return is_ours(facts, restriction, service)


def _service_at(facts: Facts, place: Place) -> Service:
    """A listener that has its setting from there."""
    if place.service:
        return place.service
    return next(item for item in facts.guarded if place.name not in item.options)


def _clients(facts: Facts, place: Place) -> list[tuple[Restriction, PolicyClient]]:
    service = _service_at(facts, place)
    return [
        (item, parse_policy_client(item.argument))
        for item in walk(place.value, facts.postfix.classes)
        if is_ours(facts, item, service)
    ]


def _client_findings(facts: Facts) -> Iterator[Finding]:
    """Each way in which the check is written, once."""
    known = {item.where for item in endpoints(facts)}
    seen = set()
    for service in facts.guarded:
        for name in CHECK_LISTS:
            place = place_of(facts.postfix, service, name)
            for _, client in _clients(facts, place):
                where = resolve(facts, client.endpoint, service)
                for finding in _judge(facts, place, service, client, where, known):
                    if (finding.id, client.endpoint) not in seen:
                        seen.add((finding.id, client.endpoint))
                        yield finding


def _judge(
    facts: Facts, place: Place, service: Service, client: PolicyClient, where: str, known: set[str]
) -> Iterator[Finding]:
    if not fails_closed(client, service):
        text = (
            f"{place}: while policyd does not answer, mail passes unchecked, by the check's default_action or "
            "smtpd_policy_service_default_action"
        )
        yield Finding("default-action", "error", *_with_fix(facts, place, text))
    path = where.removeprefix("unix:")
    if facts.machine.answers(where):
        state = facts.machine.file(path) if where.startswith("unix:") else None
        if state and state.stopped_at:
            yield Finding(
                "socket-access",
                "error",
                f"the user postfix may not use {path}, because of {state.stopped_at}: write socket_group = "
                '"postfix" into [policyd] and restart policyd',
                _access_fix(facts, path, state.stopped_at),
            )
    elif best_endpoint(facts) is None:
        return  # which is found of the socket itself
    elif client.endpoint.startswith("unix:/") and service.chroot:
        text = f"{place} asks {client.endpoint}, and smtpd, which is chrooted, looks for {path}"
        yield Finding("socket-chroot", "error", *_with_fix(facts, place, text))
    elif where not in known or any(map(facts.machine.answers, known)):
        text = f"{place} asks {client.endpoint}, where policyd does not listen"
        yield Finding("socket-path", "error", *_with_fix(facts, place, text))


def _access_fix(facts: Facts, path: str, stopped_at: str) -> tuple[str, ...]:
    if stopped_at != path and stopped_at.startswith((queue_directory(facts), "/run/")):
        return (f"chmod o+x {stopped_at}",)
    return ()


def _delay_findings(facts: Facts) -> Iterator[Finding]:
    for place in places(facts.postfix, facts.guarded, "smtpd_delay_reject"):
        if place.value == "no":
            yield Finding(
                "delay-reject",
                "warning",
                f"{place} = no: mail is refused before its recipient is known, which the log then lacks",
                place.set("yes"),
            )


def _milter_suffices(facts: Facts) -> bool:
    """Whether our milter decides on all listeners, and no rule hangs on what Postfix does not tell a milter."""
    pins = (pin for rule in facts.active for pin in rule.inbound.certificates)
    if any(pin.fingerprint or pin.pubkey_fingerprint for pin in pins):
        return False
    return bool(facts.guarded) and all(_milters(facts, item) for item in facts.guarded)


def _milters(facts: Facts, service: Service) -> list[PolicyClient]:
    """Our milter among those of a listener; they are written like policy services."""
    known = set(facts.config.milter.listen)
    clients = map(parse_policy_client, split_list(service.get("smtpd_milters")))
    return [
        item for item in clients if "closedmail" in item.endpoint or resolve(facts, item.endpoint, service) in known
    ]


def _milter_findings(facts: Facts) -> Iterator[Finding]:
    for service in facts.guarded:
        place = place_of(facts.postfix, service, "milter_default_action")
        if any(item.attributes.get("default_action", place.value) == "accept" for item in _milters(facts, service)):
            yield Finding(
                "milter-default-action",
                "error",
                f"{place} = accept: while closedmail's milter does not answer, mail passes unchecked",
                place.set("tempfail"),
            )
            return


def _filter_findings(facts: Facts) -> Iterator[Finding]:
    """Where mail comes back from a content filter it has been checked, and comes from the filter."""
    for service in facts.postfix.listeners:
        if not facts.takes_back(service):
            continue
        asked = [name for name in CHECK_LISTS if _clients(facts, Place(facts.postfix, name, service))]
        if asked:
            fix = tuple(facts.postfix.postconf("-P", f"{service.key}/{name}=") for name in asked)
            text = (
                f"{service.key} in master.cf takes mail back from a content filter and asks closedmail again "
                f"({', '.join(asked)}): there the client is the filter, and mail that was accepted is bounced"
            )
            yield Finding("reinjection-check", "error", text, fix)
        elif not service.on_loopback:
            # A filter on another machine has to reach it: then others must not.
            known = "reject" in split_list(service.options.get("smtpd_client_restrictions", ""))
            _, port = split_service(service.name)
            text = (
                f"{service.key} in master.cf takes mail without the check, as from a content filter, and not on "
                f"loopback alone: put 127.0.0.1:{port} in place of {service.name}"
            )
            fix = _rebind(facts, service, port)
            yield Finding("reinjection-exposed", "warning" if known else "error", text, fix, by_hand=known)


def _rebind(facts: Facts, service: Service, port: str) -> tuple[str, ...]:
    """Commands that write an entry anew, on loopback."""
    chroot = "y" if service.chroot else "n"
    options = [
        f"-o {{ {name} = {value} }}" if " " in value else f"-o {name}={value}"
        for name, value in service.options.items()
    ]
    entry = " ".join((f"127.0.0.1:{port} inet n - {chroot} - - smtpd", *options))
    return (
        facts.postfix.postconf("-M", f"127.0.0.1:{port}/inet={entry}"),
        facts.postfix.postconf("-MX", service.key),
    )
