"""Fixtures of all tests: a private Postfix, directories that it can use, and a gateway with a signed list."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings
from support.network import plain as plain
from support.network import signers as signers
from support.network import site as site
from support.network import surroundings as surroundings
from support.private_postfix import PrivatePostfix
from support.real import pytest_configure as pytest_configure
from support.real import pytest_runtest_setup as pytest_runtest_setup
from support.real import require
from support.signed_lists.bad_lists import corpus as corpus
from support.signed_lists.list_keys import keys as keys

from closedmail.demo.postfix_configuration import SmtpdListener

# By itself hypothesis fails an example that takes more than 200 ms; a slow machine is no failure.
settings.register_profile("closedmail", parent=settings.default, deadline=None)
settings.load_profile("closedmail")

# They take minutes. scripts/test deals out whole files in the order that they have here: with these first, no process
# is left with one of them when all others have nothing to do any more.
_LONGEST = (
    "tests/sync/test_killed_sync.py",
    "tests/test_first_evening.py",
    "tests/test_deb.py",
    "tests/sync/test_publication.py",
    "tests/sync/test_power_loss.py",
    "tests/test_systemd.py",
    "tests/test_soak.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all else stays as it is."""
    places = {name: at for at, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(scope="session", autouse=True)
def nowhere() -> Iterator[None]:
    """Let this machine have no address of its own: it may be one for documentation, as the tests' lists name them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("closedmail.sync.host_admission.own_addresses", frozenset)
        yield


class StartPostfix(Protocol):
    """Starts a private Postfix that runs until the end of the test."""

    def __call__(
        self,
        parameters: Mapping[str, str] | None = None,
        *,
        services: Sequence[str] = (),
        listeners: Sequence[SmtpdListener] = (SmtpdListener(),),
    ) -> PrivatePostfix: ...


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users can enter, as Postfix must; pytest's own tmp_path is root's alone."""
    directory = Path(tempfile.mkdtemp(prefix="closedmail-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def private_postfix(open_directory: Path) -> Iterator[StartPostfix]:
    """Start any number of private Postfixes in one test; the logs are shown when it fails."""
    with ExitStack() as stack:
        started: list[PrivatePostfix] = []

        def start(
            parameters: Mapping[str, str] | None = None,
            *,
            services: Sequence[str] = (),
            listeners: Sequence[SmtpdListener] = (SmtpdListener(),),
        ) -> PrivatePostfix:
            require("root", "postfix", "postfix-lmdb")
            directory = open_directory / f"postfix{len(started)}"
            postfix = PrivatePostfix(directory, parameters, services=services, listeners=listeners)
            started.append(stack.enter_context(postfix))
            return postfix

        yield start
        for postfix in started:
            print(postfix.log())
