"""A process of the user nobody that listens where a daemon of ours should, and answers as it does."""

import subprocess
import sys
from types import TracebackType
from typing import Self

from closedmail.core.where import parse_where

NOBODY = 65534
DUNNO = b"action=DUNNO\n\n"

# The address, the answer, and what it does then: `stay` on the line, `hang up`, or `leave` the line and the port.
_PROGRAM = """
import socket, sys
host, port, answer, then = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), sys.argv[4]
listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
print(listener.getsockname()[1], flush=True)
kept = []
while True:
    client = listener.accept()[0]
    kept.append(client)
    client.recv(4096)
    client.sendall(answer)
    if then == "leave":
        listener.close()
    if then != "stay":
        client.close()
    if then == "leave":
        break
sys.stdin.read()
"""


class Squatter:
    """`with Squatter("inet:127.0.0.1:0") as squatter:`; `where` has the real port."""

    def __init__(self, where: str, answer: bytes = DUNNO, then: str = "stay", user: int = NOBODY) -> None:
        self._place, self._answer, self._then, self._user = parse_where(where), answer, then, user
        self.where = ""

    def __enter__(self) -> Self:
        place = self._place
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _PROGRAM, place.host, str(place.port), self._answer.hex(), self._then],
            cwd="/",
            user=self._user,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        host = f"[{place.host}]" if ":" in place.host else place.host
        self.where = f"inet:{host}:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
