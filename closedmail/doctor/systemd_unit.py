"""systemd's units: in which state one is, and the command that has it run."""

from typing import Literal

from closedmail.doctor.finding import Fix

# "" without systemd; "missing" where there is no such unit; "on" where it is active and comes back after a boot.
UnitState = Literal["", "missing", "off", "on"]


def start_fix(unit: str, state: UnitState, service: str) -> Fix | None:
    """Find the command for a service that does not answer: start its unit, or restart what hangs; None where systemd
    does not run it. `unit` is the one to enable, perhaps the socket's."""
    if state == "off":
        return Fix.start(unit)
    return Fix.restart(service) if state == "on" else None
