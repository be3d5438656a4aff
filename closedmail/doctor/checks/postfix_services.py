"""Check that the services which deliver to partners are there, and that a network's own service is as it should be."""

from collections.abc import Iterator

from closedmail.core.model import SHARED_TABLE
from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_facts import PostfixFacts
from closedmail.mta.network_service import (
    NetworkService,
    named_service_command,
    network_services,
    service_commands,
    service_faults,
)
from closedmail.mta.restrictions import split_list


def service_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find services that master.cf lacks, and networks' own ones that differ from what they should be."""
    maps = facts.config.postfix
    if not maps:
        return
    for service in network_services(facts.config, facts.map_types):
        yield from _own_findings(facts, service)
    for name in dict.fromkeys(
        rule.outbound.transport for rule in facts.rules if rule.outbound and not rule.outbound.own_service
    ):
        if not facts.postfix.service(name):
            yield Finding.of(
                "transport-missing",
                f"master.cf has no unix service {name}, which outbound.transport names: sync publishes nothing",
                (facts.postconf(*named_service_command(facts.postfix, name, maps, facts.map_types)),),
            )
    yield from _shared_findings(facts)


def _own_findings(facts: PostfixFacts, service: NetworkService) -> Iterator[Finding]:
    faults = service_faults(facts.postfix, service)
    if not faults:
        return
    fixes = tuple(facts.postconf(*arguments) for arguments in service_commands(facts.postfix, service))
    if not facts.postfix.service(service.name):
        text = f"master.cf has no unix service {service.name}, by which partners' mail leaves: sync publishes nothing"
        yield Finding.of("transport-missing", text, fixes)
        return
    text = f"{service.name}/unix in master.cf is not as partners' mail needs it: {'; '.join(faults)}"
    yield Finding.of("network-service", text, fixes)


def _shared_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find networks whose TLS policies count for other mail, or for another network's, too."""
    path = f"{facts.config.postfix.map_dir.rstrip('/') if facts.config.postfix else ''}/{SHARED_TABLE}"
    lists = {network.name for network in facts.config.networks if network.source}
    shared = {service.name for service in facts.shared_services}
    rules = [rule for rule in facts.rules if rule.outbound and rule.outbound.transport in shared]
    networks = sorted({rule.network for rule in rules} & lists)
    others = [
        service.key
        for service in facts.postfix.services
        if service.type == "unix"
        and service.command == "smtp"
        and (service.name not in shared or service.name in ("smtp", "relay"))
        and any(item.partition(":")[2] == path for item in split_list(service.get("smtp_tls_policy_maps")))
    ]
    if networks and (others or len(networks) > 1):
        whose = "of other mail" if others else "of each other's mail"
        yield Finding.of(
            "shared-service",
            f"the lists of {', '.join(networks)} can loosen the TLS policy {whose} to a host that they name, because "
            f"{', '.join(others) or 'their services'} read one table, {path}: leave outbound.transport out, so that "
            "each network has a service of its own, and run setup",
        )
