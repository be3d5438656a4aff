"""Check where smtpd asks policyd: the endpoint in main.cf, the socket it leads to, and whether policyd answers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from closedmail.core.where import parse_endpoint, parse_where
from closedmail.daemon.socket_peer import impostor_sentence
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.postfix_facts import PostfixFacts
from closedmail.mta.postfix_config import Service
from closedmail.mta.restrictions import PolicyClient, Restriction, parse_policy_client

CHECK = "closedmail_check"  # the parameter of main.cf that holds the check
DEFAULT_ACTION = "451 4.3.5 The check for closed networks does not answer"
_TIMEOUT = "10s"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104, a daemon listening there is asked on loopback


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A socket of policyd's: its name for smtpd (`spelled`), and its address (`where`)."""

    spelled: str
    where: str


def queue_directory(facts: PostfixFacts) -> str:
    """Return it without a slash at its end."""
    return facts.postfix.main.get("queue_directory", "/var/spool/postfix").rstrip("/")


def endpoints(facts: PostfixFacts) -> list[Endpoint]:
    """List where policyd listens, itself or by its socket unit, the best for smtpd first.

    A socket below the queue directory can be reached by a chrooted smtpd, too.
    """
    queue = queue_directory(facts)
    inside, inet, outside = [], [], []
    for where in dict.fromkeys((*facts.config.policyd.listen, f"unix:{queue}/closedmail/policy.sock")):
        place = parse_where(where)
        if not place.path:
            spelled = str(replace(place, host=_ANY.get(place.host, place.host)))
            inet.append(Endpoint(spelled, spelled))
        elif place.path.startswith(f"{queue}/"):
            inside.append(Endpoint(f"unix:{place.path.removeprefix(f'{queue}/')}", where))
        else:
            outside.append(Endpoint(where, where))
    return [*inside, *inet, *outside]


def chrooted(facts: PostfixFacts) -> bool:
    """Check whether any listener is chrooted."""
    return any(service.chroot for service in facts.postfix.listeners)


def best_endpoint(facts: PostfixFacts) -> Endpoint | None:
    """Choose the one for main.cf: one that answers, else one that is configured; None where none can be reached."""
    queue = queue_directory(facts)
    usable = [
        item for item in endpoints(facts) if not chrooted(facts) or item.where.startswith(("inet:", f"unix:{queue}/"))
    ]
    answering = (item for item in usable if facts.machine.answers(item.where))
    configured = (item for item in usable if item.where in facts.config.policyd.listen or item.spelled == item.where)
    return next(answering, None) or next(configured, None)


def resolve(facts: PostfixFacts, endpoint: str, service: Service) -> str:
    """Find which socket an endpoint of main.cf is for a listener.

    A relative path begins at the queue directory, and for a chrooted listener an absolute path does, too.
    """
    return parse_endpoint(endpoint, queue_directory(facts), chrooted=service.chroot)


def is_ours(facts: PostfixFacts, restriction: Restriction, service: Service) -> bool:
    """Check whether a restriction asks closedmail: where it listens, or where somebody thinks that it does."""
    if restriction.name != "check_policy_service":
        return False
    endpoint = parse_policy_client(restriction.argument).endpoint
    known = {item.where for item in endpoints(facts)}
    return "closedmail" in endpoint or endpoint in known or resolve(facts, endpoint, service) in known


def fails_closed(client: PolicyClient, service: Service) -> bool:
    """Check whether mail waits, or is refused, while nobody answers.

    Source: access(5). A number alone is OK, and `reject_…` is a restriction that may let the mail pass.
    """
    action = client.attributes.get("default_action", service.get("smtpd_policy_service_default_action")).strip()
    word = action.partition(" ")[0].lower()
    return (word[:1] in ("4", "5") and not action.isdigit()) or word in ("defer", "defer_if_permit", "reject")


def definition(endpoint: Endpoint) -> str:
    """Render the value of `closedmail_check`."""
    return f"check_policy_service {{ {endpoint.spelled}, timeout={_TIMEOUT}, {{ default_action = {DEFAULT_ACTION} }} }}"


def unreachable(facts: PostfixFacts) -> str:
    """Advise what to do where smtpd can reach no socket of policyd's."""
    path = f"{queue_directory(facts)}/closedmail/policy.sock"
    return (
        f'smtpd is chrooted and finds no socket outside of its queue directory: write listen = ["unix:{path}"] and '
        'socket_group = "postfix" into [policyd], and restart policyd'
    )


def policyd_findings(facts: PostfixFacts, start: Fix | None) -> Iterator[Finding]:
    """Find whether policyd answers where this Postfix can ask. `start` is the command that starts it, None where
    systemd does not run it."""
    for item in endpoints(facts):
        if user := facts.machine.stranger(item.where):
            yield Finding.of("impostor", impostor_sentence(item.where, user, "policyd"))
    answering = [item for item in endpoints(facts) if facts.machine.answers(item.where)]
    queue = queue_directory(facts)
    if not answering:
        names = " or ".join(dict.fromkeys(facts.config.policyd.listen))
        text = f"policyd does not answer on {names}: Postfix defers all mail"
        if start:
            yield Finding.of("policyd", text, (start,))
        else:
            yield Finding.of("policyd", f"{text}; start it: {facts.config.command('policyd')}")
    elif chrooted(facts) and not any(item.where.startswith(("inet:", f"unix:{queue}/")) for item in answering):
        yield Finding.of("socket-chroot", f"policyd answers on {answering[0].where} alone, but {unreachable(facts)}")
