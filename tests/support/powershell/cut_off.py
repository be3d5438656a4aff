"""Runs that are cut off: what a script leaves behind at each call that changes something."""

from collections.abc import Callable
from typing import Any, TypeVar

from support.powershell.dns_server import DnsServer
from support.powershell.exchange import Exchange

Model = TypeVar("Model", DnsServer, Exchange)


def states(model: Model, script: str, look: Callable[[Model], None], **parameters: Any) -> list[Model]:
    """Run a script on a copy. Gives what was there before the first and after each change; `look` sees each of them."""
    found = [model.copy()]

    def see(now: Model) -> None:
        look(now)
        found.append(now.copy())

    look(model)
    finished(model, script, see, **parameters)
    return found


def finished(model: Model, script: str, look: Callable[[Model], None], **parameters: Any) -> Model:
    """Run a script on a copy, and give that; `look` sees it after each change."""
    running = model.copy()
    running.watch = look
    running.run(script, **parameters)
    running.watch = None
    return running
