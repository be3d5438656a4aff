"""Find what Sendmail finds for a recipient's domain: the row of its mailertable, and that of its TLS demand."""

from dataclasses import dataclass
from typing import Any

from closedmail.core.domain import parents
from closedmail.core.record import Entry
from closedmail.generation.sendmail_tls_demands import is_demand, recipient_policies
from closedmail.maps.local_rows import fold_key
from closedmail.maps.local_rows_file import LocalRows
from closedmail.maps.protected_keys import ProtectedKeys
from closedmail.maps.sendmail_access import TAG, lifted, requirement
from closedmail.routes.delivery import CLOSED, delivery_of
from closedmail.routes.sendmail_route import mailertable_value
from closedmail.routes.tls_policy import Policy
from closedmail.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class SendmailRows:
    """Both rows as (key, value), None where Sendmail finds none."""

    mailertable: tuple[str, str] | None = None
    access: tuple[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Make the object of the public interface."""
        return {
            name: dict([row]) if row else {}
            for name, row in (("mailertable", self.mailertable), ("access", self.access))
        }

    def text(self) -> str:
        """Render both rows for people."""
        rows = (("mailertable", self.mailertable), ("access", self.access))
        return "\n".join(f"Sendmail's {table}: {' '.join(row) if row else 'no row'}" for table, row in rows)


def sendmail_rows(snapshot: Snapshot, name: str, local_rows: LocalRows) -> SendmailRows:
    """Look a domain up as Sendmail does in the maps of the generation, with the administrator's own rows in them."""
    return SendmailRows(_mailertable(snapshot, name, local_rows), _access(snapshot, name, local_rows))


def _mailertable(snapshot: Snapshot, name: str, local_rows: LocalRows) -> tuple[str, str] | None:
    """Find the row of the domain, else that of the longest suffix, else that of `.`."""
    shielded = False
    for key in (name, *("." + parent for parent in parents(name)), "."):
        value = local_rows.mailertable.get(key) or (None if shielded else _value(snapshot, key))
        if value:
            return key, value
        shielded = shielded or key.removeprefix(".") in snapshot.own.names
    return None


def _value(snapshot: Snapshot, key: str) -> str | None:
    if ProtectedKeys(snapshot.own, snapshot.manifest.closed, snapshot.entry).is_guard(key):
        return mailertable_value(CLOSED)
    entry = snapshot.entry(key)
    return entry and mailertable_value(delivery_of(entry, snapshot.manifest.rules[entry.rule].outbound))


def _access(snapshot: Snapshot, name: str, local_rows: LocalRows) -> tuple[str, str] | None:
    """Find the row of the domain, else that of the nearest name above it, else the administrator's for all."""
    entries: list[tuple[str, Entry]] = []
    names = (name, *parents(name))
    for key in (*names, *("." + above for above in names)):
        entry = snapshot.entry(key)
        if entry:
            entries.append((key, entry))
    policies = recipient_policies(entries, snapshot.manifest.rules)
    found: dict[str, Policy] = {}
    for above in names:
        staying = snapshot.staying_recipient(above)
        policy = staying.policy if staying else policies.get(above)
        if policy:
            found[above] = policy
    for at, above in enumerate(names):
        key = fold_key(TAG + above)
        if key in local_rows.access:
            return TAG + above, local_rows.access[key]
        if above in found and is_demand(found[above]):
            return TAG + above, requirement(found[above])
        if above in found and any(is_demand(found[higher]) for higher in names[at + 1 :] if higher in found):
            return TAG + above, lifted(above, local_rows.access)
    default = local_rows.access.get(fold_key(TAG))
    return (TAG, default) if default else None
