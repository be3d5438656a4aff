"""For processes that a test starts: this machine has no address of its own, as conftest.py says of the test.

With PARTNERS_HERE in their environment, lists may route to loopback, where the partners' servers of such a test are.
"""

import os
from pathlib import Path

from closedmail.mailertable.route_hosts import RouteFaults
from closedmail.mta import own_addresses

own_addresses.own_addresses.__defaults__ = (Path(__file__).parent,)


def no_fault(*_: object) -> str:
    """Find nothing wrong with any route."""
    return ""


if "PARTNERS_HERE" in os.environ:
    RouteFaults.__missing__ = no_fault  # type: ignore[method-assign, assignment]
