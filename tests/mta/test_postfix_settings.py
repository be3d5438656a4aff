"""Postfix's own commands: whose failure is an error of theirs, not yet a publication that is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.network import put_program

from closedmail.doctor import undo
from closedmail.errors import ClosedmailError, Refused
from closedmail.mta.postconf import inspect_postfix
from closedmail.mta.postfix_client import PostfixClients
from closedmail.mta.postfix_settings import read_settings

CALLERS: dict[str, Callable[[str], object]] = {
    "settings": read_settings,
    "inspection": inspect_postfix,
    "clients": PostfixClients,
    "setup --undo": undo._options,
}


@pytest.mark.parametrize("caller", CALLERS)
def test_a_postconf_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caller: str) -> None:
    put_program(tmp_path / "postconf", "#!/bin/sh\necho postconf: fatal: no luck >&2\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ClosedmailError, match="postconf: fatal: no luck") as caught:
        CALLERS[caller](str(tmp_path))
    assert not isinstance(caught.value, Refused)
