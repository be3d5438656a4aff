"""Postfix in one container asks closedmail in another: over a real network, on Debian's own Python packages."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.keys import Signer
from support.machines import docker
from support.real import require

from closedmail.demo.smtp_client import SmtpReply

CHECKOUT = Path(__file__).parents[1]
COMPOSE_FILE = CHECKOUT / "tests" / "docker" / "compose.yml"
IMAGE = "closedmail-tests"

ALLOWED = "192.0.2.1"
REFUSED = "198.51.100.9"

LIST = b"koeln.example esmtp:[192.0.2.1]\nbonn.example esmtp:[192.0.2.2]\n"

CONFIGURATION = """\
[gateway]
own_domains = ["city.example"]

[policyd]
listen = ["inet:0.0.0.0:10040"]

[network.ndb]
source = "/scene/list.asc"
key_file = "/scene/key.asc"
signing_keys = ["{fingerprint}"]

[network.ndb.outbound]
tls = "encrypt"

[network.ndb.inbound]
mode = "enforce"
allow_from = ["192.0.2.0/28"]
"""


@pytest.fixture(scope="session")
def scene() -> Iterator[Path]:
    """What the policy daemon's machine is given: configuration, signed list, key."""
    require("gpg")
    directory = Path(tempfile.mkdtemp(prefix="closedmail-scene-"))
    signer = Signer(directory / "home", "list@ndb.example")
    try:
        (directory / "list.asc").write_bytes(signer.clearsign(LIST))
        (directory / "key.asc").write_bytes(signer.public())
        (directory / "closedmail.toml").write_text(CONFIGURATION.format(fingerprint=signer.fingerprint))
        yield directory
    finally:
        signer.stop()
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def docker_daemon(scene: Path) -> Iterator[None]:
    """A daemon with the image in it, and the environment that docker and the compose file read."""
    require("docker", "docker-compose", "debootstrap", "tar")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        found = docker.daemon_answers()
        if not found:
            require("root", "dockerd", "iptables", "ip", "unshare", "setpriv")
        archive = docker.base_image(Path(os.environ.get("CLOSEDMAIL_TEST_CACHE", "/var/cache/closedmail-tests")))
        if found:
            stack.callback(docker.run, ["docker", "image", "rm", IMAGE], check=False)
        else:
            environment.setenv("DOCKER_HOST", stack.enter_context(docker.daemon()))
        environment.setenv("CLOSEDMAIL_TEST_IMAGE", IMAGE)
        environment.setenv("CLOSEDMAIL_TEST_CHECKOUT", str(CHECKOUT))
        environment.setenv("CLOSEDMAIL_TEST_SCENE", str(scene))
        docker.run(["docker", "import", archive, IMAGE], timeout=300)
        yield


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    return docker.compose_command() or "docker-compose"


@pytest.fixture(scope="session")
def docker_compose_file(docker_daemon: None) -> str:
    return str(COMPOSE_FILE)


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    # The older docker-compose knows no --wait.
    return ["up -d"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["down -v -t 5"]


class Machines:
    """The two containers, as compose knows them."""

    def __init__(self, command: str, file: str, project: str) -> None:
        self._compose = [*command.split(), "-f", file, "-p", project]

    def compose(self, *arguments: str) -> str:
        return docker.run([*self._compose, *arguments]).stdout

    def send(self, client_address: str, sender: str) -> SmtpReply:
        script = ["python3", "/checkout/tests/docker/send.py", client_address, sender]
        return SmtpReply(**json.loads(self.compose("exec", "-T", "postfix", *script)))


@pytest.fixture(scope="session")
def machines(
    docker_services: Any, docker_compose_command: str, docker_compose_file: str, docker_compose_project_name: str
) -> Iterator[Machines]:
    """Both machines, as soon as Postfix answers and the daemon decides."""
    machines = Machines(docker_compose_command, docker_compose_file, docker_compose_project_name)
    wait_for(machines, REFUSED, 554)
    yield machines
    print(machines.compose("logs", "--no-color"))


def wait_for(machines: Machines, client_address: str, code: int) -> SmtpReply:
    """Send until the answer is the expected one; for as long as machines need to come up, or to notice."""
    deadline = time.monotonic() + 60
    while (reply := machines.send(client_address, "u@koeln.example")).code != code:
        assert time.monotonic() < deadline, f"{reply}\n{machines.compose('logs', '--no-color')}"
        time.sleep(0.2)
    return reply


@pytest.mark.parametrize("sender", ["u@koeln.example", "u@bonn.example", "u%koeln.example"])
def test_partner_is_accepted_from_its_address_only(machines: Machines, sender: str) -> None:
    assert machines.send(ALLOWED, sender).accepted
    reply = machines.send(REFUSED, sender)
    assert (reply.stage, reply.code) == ("rcpt", 554)
    assert "5.7.1" in reply.text
    assert REFUSED in reply.text


@pytest.mark.parametrize("sender", ["u@elsewhere.example", ""])
def test_strangers_and_bounces_are_not_our_business(machines: Machines, sender: str) -> None:
    assert machines.send(REFUSED, sender).accepted


def test_mail_waits_while_the_daemon_is_away(machines: Machines) -> None:
    machines.compose("stop", "-t", "10", "policyd")
    try:
        for client_address in (ALLOWED, REFUSED):
            reply = machines.send(client_address, "u@koeln.example")
            assert (reply.stage, reply.code) == ("rcpt", 451), reply
            assert "4.3.5" in reply.text
    finally:
        machines.compose("start", "policyd")
    wait_for(machines, ALLOWED, 250)
    assert wait_for(machines, REFUSED, 554).stage == "rcpt"
