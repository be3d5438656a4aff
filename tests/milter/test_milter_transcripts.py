"""Transcripts of the milter (tests/milter/transcripts), played without libmilter."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from closedmail.config import load
from closedmail.inbound.counters import Counters
from closedmail.inbound.decision import Outcome
from closedmail.milter.milter_service import MilterConnection, MilterService
from closedmail.milter.milter_session import Response
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.sync.run import sync

FOLDER = Path(__file__).parent / "transcripts"
TRANSCRIPTS = sorted(path.stem for path in FOLDER.glob("*.txt"))
# What the milter writes into a transcript; the rest is what it is given.
OURS = ("<", "remove ", "add ", "log ")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreReader]:
    folder = tmp_path_factory.mktemp("gateway")
    for name in ("closedmail.toml", "list"):
        (folder / name).write_text((FOLDER / name).read_text().replace("FOLDER", str(folder)))
    config = load(folder / "closedmail.toml")
    assert not sync(config).refused
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        yield store


def play(store: StoreReader, transcript: str) -> str:
    """Take the steps of a transcript on one connection; return it with what really came of them."""
    log: list[str] = []
    connection = MilterService(store, log.append, Counters(0), "gw.city.example").connection()
    macros: dict[str, str] = {}
    played = []
    messages = 0
    for line in transcript.splitlines():
        if line.startswith(OURS):
            continue
        played.append(line)
        step, _, rest = line.partition(" ")
        if step == "macro":
            name, _, value = rest.partition("=")
            macros[name] = value
            continue
        messages += step == "mail"
        response = take(connection, step, rest, macros, f"Q{messages}")
        if step == "mail":
            macros.clear()
        if response is not None:
            played += shown(response)
        played += [f"log {each.rstrip()}" for each in log]
        log.clear()
    return "".join(f"{line}\n" for line in played)


def take(connection: MilterConnection, step: str, rest: str, macros: dict[str, str], queue_id: str) -> Response | None:
    """One step."""
    argument = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), rest.encode())
    match step:
        case "#" | "":
            pass
        case "connect":
            connection.connect(rest)
        case "mail":
            connection.mail(argument, dict(macros))
        case "rcpt":
            return connection.recipient(queue_id)
        case "header":
            name, _, value = argument.partition(b":")
            connection.header(name.decode(), value)
        case "end":
            response = connection.end(queue_id)
            connection.done()
            return response
        case _:
            raise AssertionError(f"no step of a transcript: {step}")
    return None


def shown(response: Response) -> Iterator[str]:
    """A response as a transcript has it."""
    if response.reply:
        yield f"< {response.reply.code} {response.reply.status} {response.reply.text}"
        return
    yield "< continue"
    yield from (f"remove {number}" for number in response.remove)
    if response.mark:
        yield f"add Authentication-Results: {response.mark}"


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(store: StoreReader, name: str) -> None:
    written = (FOLDER / f"{name}.txt").read_text()
    assert play(store, written) == written


def test_every_outcome_that_is_logged_is_shown() -> None:
    written = "".join((FOLDER / f"{name}.txt").read_text() for name in TRANSCRIPTS)
    assert set(re.findall(r"^log .* verdict=(\S+) ", written, re.MULTILINE)) == set(get_args(Outcome))
