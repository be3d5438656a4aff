"""Transcripts of the policy service (tests/policyd/transcripts), played with a running daemon."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from support.daemon import Daemon

from closedmail.config import load
from closedmail.inbound.decision import Outcome, Reason, decide
from closedmail.inbound.sender import SenderError
from closedmail.policyd.policy_protocol import ProtocolError, envelope_of, parse_request
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.sync.run import sync

FOLDER = Path(__file__).parent / "transcripts"
TRANSCRIPTS = sorted(path.stem for path in FOLDER.glob("*.txt"))
# The policy protocol has a word for every fact: only a milter can lack one.
NEVER = {"unknown-fact"}


@dataclass
class Service:
    """A daemon with the transcripts' configuration in force, and its policy store."""

    daemon: Daemon
    store: StoreReader

    def play(self, transcript: str) -> str:
        """Send the requests of a transcript on one connection; return it with what really came of them."""
        played = []
        with self.daemon.client() as client:
            for step in transcript.split("\n\n"):
                comments, request = _lines(step, "#"), [line[2:] for line in _lines(step, ">")]
                block = re.sub(rb"\\x([0-9a-f]{2})", _byte, "\n".join(request).encode())
                client.send(block + b"\n\n")
                action = client.action()
                played.append([*comments, *(f"> {line}" for line in request), *self._verdict(block)])
                played[-1].append("<" if action is None else f"< action={action}")
                played[-1] += self._logged()
        return "\n\n".join("\n".join(lines) for lines in played) + "\n"

    def _verdict(self, block: bytes) -> Iterator[str]:
        try:
            verdict = decide(envelope_of(parse_request(block)), self.store.current())
            yield f"= {verdict.outcome} {verdict.reason}"
        except (ProtocolError, SenderError):
            return

    def _logged(self) -> list[str]:
        """The lines that were logged since the last look, one of a request that is sent for it aside."""
        done = f"done.{len(self.daemon.log())}"
        self.daemon.ask(sender="u@done.land.example", client_address="192.0.2.1", instance=done)
        log = self.daemon.wait_for(rf"\A(?s:.*)^network=.* instance={done} generation=1\n")[0]
        lines = log.splitlines()
        before = max((at for at, line in enumerate(lines[:-1]) if " instance=done." in line), default=0)
        return [f"log {line}" for line in lines[before + 1 : -1]]


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode())


def _lines(step: str, mark: str) -> list[str]:
    return [line for line in step.splitlines() if line.startswith(mark)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("gateway")
    for name in ("closedmail.toml", "list"):
        (folder / name).write_text((FOLDER / name).read_text().replace("FOLDER", str(folder)))
    config = load(folder / "closedmail.toml")
    assert not sync(config).refused
    with Daemon(folder / "closedmail.toml") as daemon, StoreReader(store_path(config.gateway.state_dir)) as store:
        yield Service(daemon, store)


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(service: Service, name: str) -> None:
    written = (FOLDER / f"{name}.txt").read_text()
    assert service.play(written) == written


def test_every_outcome_and_reason_is_shown() -> None:
    written = "".join((FOLDER / f"{name}.txt").read_text() for name in TRANSCRIPTS)
    verdicts = re.findall(r"^= (\S+) (\S+)$", written, re.MULTILINE)
    assert {outcome for outcome, _ in verdicts} == set(get_args(Outcome))
    assert {reason for _, reason in verdicts} == set(get_args(Reason)) - NEVER
