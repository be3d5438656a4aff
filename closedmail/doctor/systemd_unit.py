"""Define the states of a systemd unit, and find the command that gets one running."""

from typing import Literal

from closedmail.doctor.finding import Fix

# "" without systemd; "missing" where there is no such unit; "on" where it is active and starts at boot.
UnitState = Literal["", "missing", "off", "on"]


def start_fix(unit: str, state: UnitState, service: str) -> Fix | None:
    """Find the command for a service that does not answer: start its unit, or restart one that hangs.

    None where systemd does not run it. `unit` is the one to enable, perhaps the socket's.
    """
    if state == "off":
        return Fix.start(unit)
    return Fix.restart(service) if state == "on" else None
