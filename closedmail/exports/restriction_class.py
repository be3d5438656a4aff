"""Express a rule as a Postfix restriction class, as far as postconf(5) allows: addresses, fingerprints, TLS.

A class ends early only by permitting (OK), which ends the whole list of restrictions that names it. So allowed clients
get DUNNO where nothing comes after them, and OK where a second proof, or another way to prove it, follows.
Nothing is refused here that the daemon accepts: where a part of a rule that admits clients can't be expressed, the
class warns only (WARN); where a part that keeps clients out can't, the rest applies.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from closedmail.core.model import CertificatePin
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.inbound.partner import Match
from closedmail.inbound.refusal import refusal_text
from closedmail.mailertable import grammar

_WORDS = {"enforce": "REJECT 5.7.1", "defer": "DEFER 4.7.1", "report": "WARN"}
_EVERYBODY = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True)
class RestrictionClass:
    """A restriction class. `restrictions` name the files by `{place}`, `files` are their lines by name.

    `name` depends on the contents, so that a table of one generation never meets a class of another.
    """

    name: str
    restrictions: str
    files: dict[str, tuple[str, ...]]


def restriction_class(match: Match, published: PublishedGeneration, notes: Notes) -> RestrictionClass | None:
    """Return the class of a partner's rule, None where it demands nothing (mode "off")."""
    rule, inbound = match.rule, match.rule.inbound
    if inbound.mode == "off":
        return None
    word, pins = _WORDS[inbound.mode], [_fingerprint(pin) for pin in inbound.certificates]
    require = inbound.require
    if "cert" in require and not all(pins):
        if require == "ip and cert":
            notes.add(f"[{rule.table}]: certificates by subject, issuer or several parts: only the address is checked")
            require = "ip"
        else:
            notes.add(f"[{rule.table}]: certificates by subject, issuer or several parts: it is only warned (WARN)")
            word = "WARN"
    if inbound.require_tls and require in ("ip", "ip or cert"):
        notes.add(f"[{rule.table}]: without TLS plaintext_reject_code is answered (450), in both enforce and defer")
    steps = _steps(match, published, word, require, [pin for pin in pins if pin])
    digest = sha256(repr(steps).encode()).hexdigest()[:16]
    name, restrictions, files = f"closedmail_{digest}", [], {}
    for number, step in enumerate(steps):
        if isinstance(step, str):
            restrictions.append(step)
            continue
        kind, check, lines = step
        file = f"{name}_{number}.{kind}"
        files[file] = lines
        restrictions.append(f"{check} {kind}:{{place}}/{file}")
    return RestrictionClass(name, ", ".join(restrictions), files)


_Step = str | tuple[str, str, tuple[str, ...]]


def _steps(match: Match, published: PublishedGeneration, word: str, require: str, pins: list[str]) -> list[_Step]:
    inbound = match.rule.inbound
    allowed = [*map(str, inbound.allow_from), *(_route_hosts(match.value) if inbound.allow_route_hosts else ())]
    refusal = [f"{everybody} {word} {_text(match, published, by_address='ip' in require)}" for everybody in _EVERYBODY]
    fingerprints = ("texthash", "check_ccert_access", tuple(f"{pin} OK" for pin in pins))
    trusted = list(map(str, published.trusted_clients))
    tls = inbound.require_tls and require in ("ip", "ip or cert")  # a client that shows a certificate has TLS
    steps: list[_Step] = ["permit_sasl_authenticated"] if published.exempt_sasl else []
    if require == "ip" and not tls:
        return [*steps, _clients([(trusted, "DUNNO"), (allowed, "DUNNO")], refusal)]
    if trusted:
        steps.append(_clients([(trusted, "OK")]))
    if require in ("cert", "ip or cert") and pins:
        steps.append(fingerprints)
    steps.append(_clients([(allowed, "DUNNO")] if "ip" in require else [], refusal))
    if require == "ip and cert":
        steps.extend((fingerprints, _clients([], refusal)))
    if tls:
        steps.append("warn_if_reject reject_plaintext_session" if word == "WARN" else "reject_plaintext_session")
    return steps


def _clients(groups: Iterable[tuple[Iterable[str], str]], rest: Iterable[str] = ()) -> _Step:
    rows = [f"{network} {action}" for networks, action in groups for network in networks]
    return ("cidr", "check_client_access", (*rows, *rest))


def _fingerprint(pin: CertificatePin) -> str:
    """Return the one fingerprint by which a pin can be looked up, as Postfix spells it; "" where it has more."""
    if pin.subject or pin.issuer or (pin.fingerprint and pin.pubkey_fingerprint):
        return ""
    digits = (pin.fingerprint or pin.pubkey_fingerprint).upper()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _route_hosts(value: str) -> list[str]:
    route = grammar.parse_value(value) if value else None
    if not isinstance(route, grammar.Route):
        return []
    return sorted({host.name for host in route.hosts if host.is_address})


def _text(match: Match, published: PublishedGeneration, *, by_address: bool) -> str:
    """Return the text of a refusal; a table knows neither the domain nor the client."""
    return refusal_text(match.rule, "address" if by_address else "certificate", published.generation).strip()
