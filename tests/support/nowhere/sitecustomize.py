"""For processes that a test starts: this machine has no address of its own, as conftest.py says of the test."""

from pathlib import Path

from closedmail.mta import own_addresses

own_addresses.own_addresses.__defaults__ = (Path(__file__).parent,)
