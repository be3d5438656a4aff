"""Explain what Postfix does with a recipient where the administrator's own tables have a say."""

from dataclasses import replace

from closedmail.explain.explain import ExplainedRecipient, Outcome, with_user
from closedmail.inbound.sender import queued_domains
from closedmail.maps.protected_keys import ProtectedKeys
from closedmail.mta.recipient_chain import RecipientChain
from closedmail.store.snapshot import Snapshot

_OUTCOMES: dict[str, Outcome] = {"error": "error", "retry": "held"}


def follow_own_tables(
    found: ExplainedRecipient, snapshot: Snapshot, recipient: str, chain: RecipientChain, closedmail: str
) -> ExplainedRecipient:
    """Replace what closedmail's maps say of a recipient by what Postfix does.

    It is the same unless a row of the administrator's tables is found first. Domains that are no partner's stay as they
    are. `closedmail` is what proposed commands begin with.
    """
    spelled = with_user(recipient)
    names = queued_domains(spelled, snapshot.rewriting)
    key = ProtectedKeys(snapshot.own, snapshot.manifest.closed, snapshot.entry).row_key(names[0]) if names else None
    if key is None:
        return found
    if not chain.reads_ours:
        note = f"Postfix does not read closedmail's routes: transport_maps does not name them; run: {closedmail} doctor"
        return replace(found, notes=(note,))
    name, (local, _, domain) = names[0], spelled.rpartition("@")
    row = chain.own_row(f"{local}@{domain.rstrip('.')}" if local else f"x@{name}", f"{local or 'x'}@{name}", key)
    explained = _ours(found, snapshot, chain) if row is None else _theirs(found, snapshot, chain, row, name)
    unread = tuple(
        f"{table} can't be read ({reason}): whether it has a row for {name} is not known"
        for table, reason in chain.unread.items()
    )
    return replace(explained, notes=(*explained.notes, *unread))


def _ours(found: ExplainedRecipient, snapshot: Snapshot, chain: RecipientChain) -> ExplainedRecipient:
    """Explain a route of ours: its TLS policies are those that the service finds."""
    if found.verdict != "routed":
        return found
    policies = _policies(snapshot, chain, found.transport or "", "")
    other = [f"{nexthop}: {policy}" for nexthop, policy in policies.items() if policy != found.tls_policy.get(nexthop)]
    if not other:
        return found
    text = f"{found.text} But the service looks its TLS policy up elsewhere, and gets {', '.join(other)}."
    return replace(found, text=text, tls_policy=policies)


def _theirs(
    found: ExplainedRecipient, snapshot: Snapshot, chain: RecipientChain, row: tuple[str, str, str], name: str
) -> ExplainedRecipient:
    """Explain a row of the administrator's that Postfix finds first."""
    table, key, value = row
    service, nexthops = chain.delivery(value, name)
    policies = _policies(snapshot, chain, value, name)
    transport = f"{service}:{', '.join(nexthops)}" if nexthops else value if value[:1] != ":" else service
    same = found.verdict == "routed" and transport == found.transport and policies == found.tls_policy
    verdict: Outcome = "routed" if same else _OUTCOMES.get(service, "none")
    tls = ", ".join(f"{nexthop}: {policy}" for nexthop, policy in policies.items())
    text = (
        f"Mail to {name} goes by your own row for {key} in {table} to {transport}"
        f"{f', with TLS policy {tls}' if tls else ''}. closedmail's row, {found.transport}, is not used."
    )
    own = {"table": table, "key": key, "value": value}
    return replace(found, verdict=verdict, text=text, transport=transport, tls_policy=policies, own_row=own)


def _policies(snapshot: Snapshot, chain: RecipientChain, value: str, name: str) -> dict[str, str]:
    """Find the TLS policy of each nexthop of a route."""

    def ours(name: str) -> str | None:
        row = snapshot.tls_row(name)
        return str(row.policy) if row else None

    service, nexthops = chain.delivery(value, name)
    return {nexthop: chain.tls_policy(service, nexthop, ours) for nexthop in nexthops}
