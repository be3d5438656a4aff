"""Probing route hosts as the MTA would meet them: many at once, each in bounded time, results in a fixed order."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from closedmail.mta.client_settings import ClientSettings
from closedmail.probe.attempt import Visit, connect, converse
from closedmail.probe.dane import DANE, Course, course, read_answer, without_records
from closedmail.probe.mail_hosts import Address, Place, Unresolved, addresses_of, mail_hosts, mx_signed, place_of
from closedmail.probe.posttls_finger import ask_posttls_finger
from closedmail.probe.probe_result import HostResult, days_left
from closedmail.probe.probe_targets import ProbeTarget
from closedmail.probe.server_certificate import Certificate, NotACertificate, read_certificate
from closedmail.probe.server_check import Demand, Seen, demand_of, why_not
from closedmail.probe.smtp_probe import SmtpProbe
from closedmail.probe.tls_client import TlsClient, tls_client
from closedmail.programs import ProgramError, find
from closedmail.words import excerpt, iso, iso_or_none

AT_ONCE = 16
PATIENCE = 30.0  # seconds for all that is done with one host

Progress = Callable[[str], None]


class Prober:
    """Probes targets. `settings_of` gives the settings of a service, `pin_digest` is what the MTA's server makes
    fingerprints of clients with, "" where it is not known. `config_directory` is Postfix's, whose posttls-finger is
    asked at levels dane and dane-only; "" where there is none. `patience` is in seconds, for each host."""

    def __init__(
        self,
        settings_of: Callable[[str], ClientSettings],
        pin_digest: str = "",
        *,
        config_directory: str = "",
        patience: float = PATIENCE,
        at_once: int = AT_ONCE,
    ) -> None:
        self._settings_of, self._pin_digest = settings_of, pin_digest
        self._patience, self._at_once = patience, at_once
        self._config_directory = config_directory
        self._posttls_finger = find("posttls-finger") if config_directory else None
        self._known: dict[str, ClientSettings] = {}
        self._clients: dict[tuple[str, str], TlsClient] = {}

    def probe(self, targets: Mapping[ProbeTarget, int], progress: Progress = lambda _: None) -> list[HostResult]:
        """Probe all of them, and return when all are done, sorted by nexthop. `progress` is told of each one."""
        return asyncio.run(self._all(targets, progress))

    async def _all(self, targets: Mapping[ProbeTarget, int], progress: Progress) -> list[HostResult]:
        # Look-ups of names wait in threads; one that hangs must not keep the others waiting.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self._at_once))
        results: list[HostResult] = []
        waiting: Iterator[tuple[ProbeTarget, int]] = iter(targets.items())

        async def work() -> None:
            for target, domains in waiting:
                results.extend(await self._nexthop(target, domains))
                progress(target.nexthop)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._at_once, len(targets))):
                group.create_task(work())
        return sorted(results, key=lambda result: result.key)

    async def _nexthop(self, target: ProbeTarget, domains: int) -> list[HostResult]:
        settings = self._settings(target.service)
        blank = HostResult(
            target.nexthop, domains, policy=target.row, transport=target.service, probed_at=iso(int(time.time()))
        )
        try:
            place = place_of(target.nexthop)
            hosts = await mail_hosts(place, settings)
        except Unresolved as error:
            return [replace(blank, error=excerpt(str(error)))]
        return [await self._host(target, replace(blank, host=host), place) for host in hosts]

    async def _host(self, target: ProbeTarget, blank: HostResult, place: Place) -> HostResult:
        settings = self._settings(target.service)
        demand = demand_of(target.policy, settings, place.name, blank.host)
        key = (target.service, str(target.policy))
        if key not in self._clients:
            self._clients[key] = tls_client(settings, target.policy, needs_trust=demand.needs_trust)
        client = self._clients[key]
        uses_tls = demand.level != "none" or settings.wrapped
        if client.error and uses_tls:
            return replace(blank, error=client.error)
        meeting = _Meeting(settings, client, demand, uses_tls)
        try:
            async with asyncio.timeout(self._patience):
                await meeting.hold(blank.host, place.port)
                if demand.level in DANE and meeting.visit and not meeting.error:
                    meeting.course = await self._course(demand, settings, place)
        except TimeoutError:
            meeting.error = f"not done within {self._patience:g} s, and given up"
        try:
            return self._result(blank, meeting)
        except ValueError as error:  # of hashlib
            return replace(blank, error=f"smtp_tls_fingerprint_digest: {excerpt(str(error))}")

    async def _course(self, demand: Demand, settings: ClientSettings, place: Place) -> Course | None:
        """How Postfix goes on at level dane or dane-only, None where it can't be asked."""
        policy = settings.insecure_mx
        try:
            signed = not settings.dnssec or await mx_signed(place)
            found = without_records(demand.level, dnssec=settings.dnssec, mx_signed=signed, insecure_mx=policy)
            if found or not self._posttls_finger:
                return found
            said = await ask_posttls_finger(
                self._posttls_finger, demand.host, place.port, settings, self._config_directory, self._patience
            )
        except ProgramError as error:
            return Course("", f"posttls-finger: {error.words}")
        except Unresolved as error:
            return Course("", excerpt(str(error)))
        return course(demand.level, read_answer(said), mx_signed=signed, insecure_mx=policy)

    def _settings(self, service: str) -> ClientSettings:
        if service not in self._known:
            self._known[service] = self._settings_of(service)
        return self._known[service]

    def _result(self, blank: HostResult, meeting: "_Meeting") -> HostResult:
        visit, demand, client = meeting.visit, meeting.demand, meeting.client
        if visit is None:
            return replace(blank, error=meeting.error)
        certificate, unreadable = _certificate(visit.certificate)
        seen = Seen(
            offered=visit.probe.offered,
            encrypted=bool(visit.protocol),
            certificate=certificate,
            trust_error=visit.trust_error or (client.no_trust if demand.needs_trust else ""),
            tls_error=visit.tls_error or visit.probe.refused_tls,
            bits=visit.bits,
        )
        problem = meeting.error or visit.probe.error or _why_not(demand, seen, meeting.course) or unreadable or None
        notes = [f"{seen.tls_error}; at level may Postfix goes on in plain text"] if seen.tls_error else []
        notes += [meeting.course.words] if meeting.course and meeting.course.words else []
        found = replace(
            blank,
            reachable=True,
            starttls=seen.offered,
            ok=problem is None,
            error=problem or "; ".join(notes) or None,
            address=visit.address,
            protocol=visit.protocol,
            client_certificate=client.certificate if visit.protocol else "",
        )
        return found if certificate is None else self._with_certificate(found, certificate, demand.digest)

    def _with_certificate(self, found: HostResult, certificate: Certificate, digest: str) -> HostResult:
        return replace(
            found,
            names=tuple(map(excerpt, (*certificate.names, *certificate.addresses))),
            issuer=excerpt(certificate.issuer) or None,
            not_after=iso_or_none(certificate.not_after),
            days_left=days_left(certificate.not_after, int(time.time())),
            fingerprint=certificate.fingerprint(digest),
            pubkey_fingerprint=certificate.pubkey_fingerprint(digest),
            pin=certificate.pubkey_fingerprint(self._pin_digest or digest),
        )


@dataclass(slots=True)
class _Meeting:
    """One host, met once, or twice where its chain is not trusted: Python shows a certificate only of a connection that
    came to be. `visit` is the connection that counts, `error` what ended it from outside, `course` what Postfix says at
    levels dane and dane-only, where it was asked."""

    settings: ClientSettings
    client: TlsClient
    demand: Demand
    uses_tls: bool
    visit: Visit | None = None
    error: str = ""
    course: Course | None = None

    async def hold(self, host: str, port: int) -> None:
        try:
            addresses = await addresses_of(host, port, self.settings)
            await self._visit(addresses, self.client.trusting or self.client.context, "")
            if self.visit and self.visit.trust_error:
                await self._visit(addresses, self.client.context, self.visit.trust_error)
        except (OSError, Unresolved) as error:
            self.error = excerpt(str(error))

    async def _visit(self, addresses: list[Address], context: ssl.SSLContext | None, trust_error: str) -> None:
        sock, where = await connect(addresses, self.settings)
        probe = SmtpProbe(self.settings.helo, use_tls=self.uses_tls, wrapped=self.settings.wrapped)
        self.visit = Visit(probe, where.address, trust_error=trust_error)
        await converse(sock, self.visit, context, self._server_name())

    def _server_name(self) -> str | None:
        """What is sent as SNI: nothing unless asked for, as Postfix does (smtp_tls_servername)."""
        wanted = self.settings.server_name
        if wanted == "hostname" or self.demand.level.startswith("dane"):
            return self.demand.host
        return (self.demand.nexthop if wanted == "nexthop" else wanted) or None


def _why_not(demand: Demand, seen: Seen, taken: Course | None) -> str | None:
    """`why_not` at the level that Postfix goes on at."""
    if taken is None or demand.level not in DANE:
        return why_not(demand, seen)
    if taken.level == "dane" and not seen.encrypted:
        return why_not(demand, seen)
    if taken.level in ("dane", ""):
        return taken.words
    problem = why_not(replace(demand, level=taken.level), seen)
    return f"{problem}; {taken.words}" if problem and taken.words else problem


def _certificate(der: bytes) -> tuple[Certificate | None, str]:
    try:
        return (read_certificate(der), "") if der else (None, "")
    except NotACertificate as error:
        return None, f"the server's certificate can't be read: {excerpt(str(error))}"
