"""Choose the fault of a signed file that counts, and word those that several modules find."""

from collections.abc import Callable, Sequence
from typing import get_args

from closedmail.errors import Code, Refused

_PRECEDENCE: tuple[Code, ...] = get_args(Code)


def worst(faults: Sequence[Refused]) -> Refused:
    """Choose, of several reasons to refuse a file, the one that counts."""
    return min(faults, key=lambda fault: _PRECEDENCE.index(fault.code))


def unsigned(what: str) -> Refused:
    return Refused("unsigned", f"{what}; check that source and signature name the signed list")


def several(what: str) -> Refused:
    return Refused("several-signatures", f"{what}, where exactly one signature is accepted; ask the network's operator")


def extra_text(where: str) -> Refused:
    return Refused("extra-text", f"there is unsigned text {where}; the file may contain nothing but the signed block")


def damaged(what: str) -> Refused:
    return Refused("bad-signature", f"{what}; it was damaged or cut short on the way, fetch it again")


def collect(faults: list[Refused], check: Callable[[], None]) -> None:
    """Run `check`, and add to `faults` what it raises."""
    try:
        check()
    except Refused as fault:
        faults.append(fault)
