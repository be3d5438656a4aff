"""Tell when a hold begins, and when what the list lost is let go."""

from collections.abc import Mapping
from typing import NamedTuple

from closedmail.core.hold_reason import Why
from closedmail.core.model import Network
from closedmail.core.record import Entry


class HoldTimes(NamedTuple):
    """The times that holds depend on: those that begin do so at `begun`; the others are the arguments of `settle`."""

    now: int
    begun: int
    ends: Mapping[str, int]
    anew: int

    def until(self, begun: int, network: Network) -> int:
        """Return when a hold of a network is due, 0 for never."""
        return 0 if network.hold_for is None else begun + network.hold_for

    def let_go(self, old: Entry, network: Network) -> bool:
        """Check whether a record that the network's list does not give any more is let go now."""
        if old.why is not Why.LOST:
            return network.on_removed == "release"
        return 0 < old.until <= self.ends.get(network.name, 0)
