"""Render the rows of Sendmail's access table: TLS demands, and the administrator's own rows.

Source: cf/m4/proto.m4, TLS_connection: `ENCR:bits` and `VERIFY:bits` with requirements after `+`; any other word
accepts. `VERIFY` alone would accept any certificate of any authority that Sendmail trusts, so that a name is
always demanded.
"""

from collections.abc import Iterator, Mapping

from closedmail.core.domain import parents
from closedmail.generation.generation import interleave
from closedmail.generation.sendmail_tls_demands import is_demand
from closedmail.maps.local_rows import fold_key
from closedmail.routes.tls_policy import Policy, Row

TAG = "TLS_Rcpt:"
_FOLDED_TAG = fold_key(TAG)
_LIFT = "OK"  # no keyword of TLS_connection's: accepted
_BITS = 128  # as Postfix's mandatory ciphers ("medium") have at least


def requirement(policy: Policy) -> str:
    """Render a demand as the value of its row."""
    level = "VERIFY" if policy.level == "verify" else "ENCR"
    return "+".join((f"{level}:{_BITS}", *policy.attributes))


def access_rows(
    policies: Mapping[str, Policy], staying: Mapping[str, Row], local_rows: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield all rows as (key, value), sorted by key. `policies` and `staying` are by name."""
    ours = _recipient_rows(policies, staying, local_rows)
    yield from interleave((row for row in ours if fold_key(row[0]) not in local_rows), sorted(local_rows.items()))


def _recipient_rows(
    policies: Mapping[str, Policy], staying: Mapping[str, Row], local_rows: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for name in sorted(policies.keys() | staying.keys()):
        policy = staying[name].policy if name in staying else policies[name]
        if is_demand(policy):
            yield TAG + name, requirement(policy)
        elif any(_demands(above, policies, staying) for above in parents(name)):
            yield TAG + name, lifted(name, local_rows)


def _demands(name: str, policies: Mapping[str, Policy], staying: Mapping[str, Row]) -> bool:
    return name in staying or (name in policies and is_demand(policies[name]))


def lifted(name: str, local_rows: Mapping[str, str]) -> str:
    """Return the value that lifts the demand of a row above: the local rows' own for that name, where there is one."""
    for above in (*parents(name), ""):
        if _FOLDED_TAG + above in local_rows:
            return local_rows[_FOLDED_TAG + above]
    return _LIFT
