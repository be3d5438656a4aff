"""Probe route hosts as the MTA would connect to them: many at once, in bounded time, results in a fixed order."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from closedmail.mta.client_settings import ClientSettings
from closedmail.probe.attempt import Attempt, connect, converse
from closedmail.probe.dane import DANE, EffectiveLevel, effective_level, level_without_records, read_answer
from closedmail.probe.mail_hosts import (
    Address,
    Destination,
    Unresolved,
    addresses_of,
    mail_hosts,
    mx_signed,
    parse_destination,
)
from closedmail.probe.posttls_finger import ask_posttls_finger
from closedmail.probe.probe_result import HostResult, days_left
from closedmail.probe.probe_targets import ProbeTarget
from closedmail.probe.server_certificate import NotACertificate, ServerCertificate, read_certificate
from closedmail.probe.server_check import Demand, Seen, demand_of, why_not
from closedmail.probe.smtp_probe import SmtpProbe
from closedmail.probe.tls_client import TlsClient, tls_client
from closedmail.programs import ProgramError, find
from closedmail.words import excerpt, iso, iso_or_none

AT_ONCE = 16
PATIENCE = 30.0  # seconds for all that is done with one host

Progress = Callable[[str], None]


class Prober:
    """The prober of targets. `settings_of` returns the settings of a service.

    `pin_digest` is the digest by which the MTA's server makes fingerprints of clients, "" where it is not known.
    `config_directory` is Postfix's, whose posttls-finger is run at levels dane and dane-only; "" where there is none.
    `patience` is in seconds, for each host.
    """

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
        """Probe all of them, and return when all are done, sorted by nexthop. `progress` is called after each one."""
        return asyncio.run(self._all(targets, progress))

    async def _all(self, targets: Mapping[ProbeTarget, int], progress: Progress) -> list[HostResult]:
        # Names are looked up in threads; one that gets no answer must not delay the others.
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
            destination = parse_destination(target.nexthop)
            hosts = await mail_hosts(destination, settings)
        except Unresolved as error:
            return [replace(blank, error=excerpt(str(error)))]
        return [await self._host(target, replace(blank, host=host), destination) for host in hosts]

    async def _host(self, target: ProbeTarget, blank: HostResult, destination: Destination) -> HostResult:
        settings = self._settings(target.service)
        demand = demand_of(target.policy, settings, destination.name, blank.host)
        key = (target.service, str(target.policy))
        if key not in self._clients:
            self._clients[key] = tls_client(settings, target.policy, needs_trust=demand.needs_trust)
        client = self._clients[key]
        uses_tls = demand.level != "none" or settings.wrapped
        if client.error and uses_tls:
            return replace(blank, error=client.error)
        attempts = _Attempts(settings, client, demand, uses_tls)
        try:
            async with asyncio.timeout(self._patience):
                await attempts.run(blank.host, destination.port)
                if demand.level in DANE and attempts.last and not attempts.error:
                    attempts.level = await self._effective_level(demand, settings, destination)
        except TimeoutError:
            attempts.error = f"not done within {self._patience:g} s, and given up"
        try:
            return self._result(blank, attempts)
        except ValueError as error:  # of hashlib
            return replace(blank, error=f"smtp_tls_fingerprint_digest: {excerpt(str(error))}")

    async def _effective_level(
        self, demand: Demand, settings: ClientSettings, destination: Destination
    ) -> EffectiveLevel | None:
        """Find the level that Postfix applies at dane or dane-only, None where posttls-finger is missing."""
        policy = settings.insecure_mx
        try:
            signed = not settings.dnssec or await mx_signed(destination)
            found = level_without_records(demand.level, dnssec=settings.dnssec, mx_signed=signed, insecure_mx=policy)
            if found or not self._posttls_finger:
                return found
            said = await ask_posttls_finger(
                self._posttls_finger, demand.host, destination.port, settings, self._config_directory, self._patience
            )
        except ProgramError as error:
            return EffectiveLevel("", f"posttls-finger: {error.words}")
        except Unresolved as error:
            return EffectiveLevel("", excerpt(str(error)))
        return effective_level(demand.level, read_answer(said), mx_signed=signed, insecure_mx=policy)

    def _settings(self, service: str) -> ClientSettings:
        if service not in self._known:
            self._known[service] = self._settings_of(service)
        return self._known[service]

    def _result(self, blank: HostResult, attempts: "_Attempts") -> HostResult:
        attempt, demand, client = attempts.last, attempts.demand, attempts.client
        if attempt is None:
            return replace(blank, error=attempts.error)
        certificate, unreadable = _certificate(attempt.certificate)
        seen = Seen(
            offered=attempt.probe.offered,
            encrypted=bool(attempt.protocol),
            certificate=certificate,
            trust_error=attempt.trust_error or (client.no_trust if demand.needs_trust else ""),
            tls_error=attempt.tls_error or attempt.probe.refused_tls,
            bits=attempt.bits,
        )
        problem = attempts.error or attempt.probe.error or _why_not(demand, seen, attempts.level) or unreadable or None
        notes = [f"{seen.tls_error}; at level may Postfix goes on in plain text"] if seen.tls_error else []
        notes += [attempts.level.words] if attempts.level and attempts.level.words else []
        found = replace(
            blank,
            reachable=True,
            starttls=seen.offered,
            ok=problem is None,
            error=problem or "; ".join(notes) or None,
            address=attempt.address,
            protocol=attempt.protocol,
            client_certificate=client.certificate if attempt.protocol else "",
        )
        return found if certificate is None else self._with_certificate(found, certificate, demand.digest)

    def _with_certificate(self, found: HostResult, certificate: ServerCertificate, digest: str) -> HostResult:
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
class _Attempts:
    """The connections to one host: one, or two where its chain is not trusted.

    The second one is needed because Python shows a certificate only after a handshake that succeeded. `last` is the
    connection that counts, `error` what ended it from outside, `level` the one that Postfix applies at dane and
    dane-only, where posttls-finger was run.
    """

    settings: ClientSettings
    client: TlsClient
    demand: Demand
    uses_tls: bool
    last: Attempt | None = None
    error: str = ""
    level: EffectiveLevel | None = None

    async def run(self, host: str, port: int) -> None:
        try:
            addresses = await addresses_of(host, port, self.settings)
            await self._connect(addresses, self.client.trusting or self.client.context, "")
            if self.last and self.last.trust_error:
                await self._connect(addresses, self.client.context, self.last.trust_error)
        except (OSError, Unresolved) as error:
            self.error = excerpt(str(error))

    async def _connect(self, addresses: list[Address], context: ssl.SSLContext | None, trust_error: str) -> None:
        sock, where = await connect(addresses, self.settings)
        probe = SmtpProbe(self.settings.helo, use_tls=self.uses_tls, wrapped=self.settings.wrapped)
        self.last = Attempt(probe, where.address, trust_error=trust_error)
        await converse(sock, self.last, context, self._server_name())

    def _server_name(self) -> str | None:
        """Return the name for SNI: none unless configured, as in Postfix (smtp_tls_servername)."""
        wanted = self.settings.server_name
        if wanted == "hostname" or self.demand.level.startswith("dane"):
            return self.demand.host
        return (self.demand.nexthop if wanted == "nexthop" else wanted) or None


def _why_not(demand: Demand, seen: Seen, taken: EffectiveLevel | None) -> str | None:
    """Apply `why_not` at the level that Postfix applies."""
    if taken is None or demand.level not in DANE:
        return why_not(demand, seen)
    if taken.level == "dane" and not seen.encrypted:
        return why_not(demand, seen)
    if taken.level in ("dane", ""):
        return taken.words
    problem = why_not(replace(demand, level=taken.level), seen)
    return f"{problem}; {taken.words}" if problem and taken.words else problem


def _certificate(der: bytes) -> tuple[ServerCertificate | None, str]:
    try:
        return (read_certificate(der), "") if der else (None, "")
    except NotACertificate as error:
        return None, f"the server's certificate can't be read: {excerpt(str(error))}"
