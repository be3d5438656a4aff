"""Guards of closed domains, and shields of own ones: which keys get a row that no record gives."""

from collections.abc import Container, Sequence

import pytest

from closedmail.core.domain import DomainSet
from closedmail.core.record import Entry, State
from closedmail.maps.protected_keys import ProtectedKeys

ROUTED, INBOUND_ONLY = Entry(0, "smtp:[192.0.2.1]"), Entry(0, "", state=State.INBOUND_ONLY)
KIM, BELOW_KIM = "kim.land.example", ".kim.land.example"
OWN, BELOW_OWN = "own.land.example", ".own.land.example"


@pytest.mark.parametrize(
    ("closed", "records", "spellings", "guards", "shields"),
    [
        ([], {}, (), [], []),
        ([], {".land.example": ROUTED}, (), [], [OWN, BELOW_OWN]),
        ([], {".land.example": INBOUND_ONLY}, (), [], []),
        ([], {"land.example": ROUTED}, (), [], []),
        ([], {".land.example": ROUTED, OWN: ROUTED}, (), [], [BELOW_OWN]),
        ([], {".land.example": ROUTED, OWN: INBOUND_ONLY}, (), [], [OWN, BELOW_OWN]),
        ([], {}, (".land.example",), [], [OWN, BELOW_OWN]),
        ([], {}, (OWN,), [], []),
        ([KIM], {}, (), [KIM, BELOW_KIM], []),
        ([KIM], {KIM: ROUTED}, (), [BELOW_KIM], []),
        ([KIM], {BELOW_KIM: ROUTED}, (), [KIM], []),
        ([KIM], {KIM: INBOUND_ONLY}, (), [KIM, BELOW_KIM], []),
        ([KIM], {".example": ROUTED}, (), [], [OWN, BELOW_OWN]),
        ([KIM], {}, (KIM,), [BELOW_KIM], []),
        ([KIM], {}, (".land.example",), [KIM, BELOW_KIM], [OWN, BELOW_OWN]),
        (["land.example"], {}, (), ["land.example", ".land.example"], [OWN, BELOW_OWN]),
        ([OWN], {}, (), [OWN, BELOW_OWN], []),
    ],
)
def test_protected_keys(
    closed: Sequence[str], records: dict[str, Entry], spellings: Container[str], guards: list[str], shields: list[str]
) -> None:
    """All of them, in order, with the domain that they are for; one by one the answer is the same."""
    protected = ProtectedKeys(DomainSet([OWN]), dict.fromkeys(closed, 0), records.get, spellings)
    assert list(protected.guards()) == [(key, key.removeprefix(".")) for key in guards]
    assert list(protected.shields()) == [(key, OWN) for key in shields]
    asked = {KIM, BELOW_KIM, OWN, BELOW_OWN, "land.example", ".land.example", *closed}
    assert {key for key in asked if protected.is_guard(key)} == set(guards)
