"""Real DNS servers on loopback, each with a configuration of its own in a folder, and questions to them by dig."""

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from closedmail.demo.ports import free_port
from support.real import find

_PATIENCE = 20.0  # seconds


@dataclass(frozen=True)
class Answer:
    """A status (`NOERROR`, `NXDOMAIN`, …; `none` where no answer came), and the records' data, sorted."""

    status: str
    data: tuple[str, ...] = ()

    @property
    def fails_for_now(self) -> bool:
        """What makes a mail server try again later."""
        return self.status in ("SERVFAIL", "REFUSED", "none")


@dataclass(frozen=True)
class Server:
    """A server that runs; `port` is 53 for one that has an address of its own."""

    address: str
    port: int
    log: Path

    def ask(self, name: str, kind: str, *options: str) -> Answer:
        command = ["dig", f"@{self.address}", "-p", str(self.port), "+time=1", "+tries=1", "+noall", "+comments"]
        done = subprocess.run(
            [*command, "+answer", *options, name, kind], capture_output=True, text=True, timeout=30, check=False
        )
        status, data = "none", []
        for line in done.stdout.splitlines():
            if "status: " in line:
                status = line.partition("status: ")[2].partition(",")[0]
            elif line and not line.startswith(";"):
                fields = line.split(None, 4)
                if fields[3] == kind:
                    data.append(fields[4])
        return Answer(status, tuple(sorted(data)))


def own_address() -> str:
    """A loopback address that nobody else is likely to use."""
    return f"127.{60 + secrets.randbelow(180)}.{1 + secrets.randbelow(250)}.{1 + secrets.randbelow(250)}"


@contextmanager
def running(command: Sequence[str], address: str, port: int, folder: Path) -> Iterator[Server]:
    """Start a server in the foreground, wait until it answers, and end it by its process."""
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [find(command[0]) or command[0], *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    server = Server(address, port, log)
    try:
        deadline = time.monotonic() + _PATIENCE
        while server.ask("stranger.example", "A").status != "NOERROR":
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        yield server
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


# The Internet, and servers inside of a network: Unbound with nothing but local data.

_STATIC = """\
server:
  interface: {address}@{port}
  access-control: 127.0.0.0/8 allow
  use-syslog: no
  pidfile: ""
  chroot: ""
  username: ""
  do-daemonize: no
  module-config: "iterator"
  local-zone: "." static
  local-data: ". 60 IN SOA a. b. 1 2 3 4 5"
  local-zone: "example." static
  local-data: "example. 60 IN SOA a. b. 1 2 3 4 5"
"""


@contextmanager
def static_server(folder: Path, records: Sequence[str], address: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    """A server that knows these records only, and `stranger.example`."""
    folder.mkdir()
    port = port or free_port()
    data = "".join(f"  local-data: '{record}'\n" for record in ("stranger.example. 60 IN A 203.0.113.9", *records))
    (folder / "unbound.conf").write_text(_STATIC.format(address=address, port=port) + data)
    with running(["unbound", "-d", "-c", "unbound.conf"], address, port, folder) as server:
        yield server


# The servers that take an export: `upstream` is the port of the Internet on 127.0.0.1, `export` where the files lie.

_UNBOUND = """\
server:
  interface: 127.0.0.1@{port}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  use-syslog: no
  pidfile: ""
  chroot: ""
  username: ""
  do-daemonize: no
  module-config: "respip validator iterator"
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{upstream}
include: {export}/closedmail.conf
"""
_BIND = """\
options {{
  directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file none; session-keyfile none; recursion yes; dnssec-validation no;
  forwarders {{ 127.0.0.1 port {upstream}; }}; forward only;
  include "{export}/closedmail.options";
}};
controls {{ }};
include "{export}/closedmail.conf";
"""
_DNSMASQ = """\
port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
user=root
group=root
server=127.0.0.1#{upstream}
conf-file={export}
"""
_POWERDNS = """\
local-address=127.0.0.1
local-port={port}
socket-dir={folder}
daemon=no
disable-syslog=yes
write-pid=no
hint-file=
dont-query=
security-poll-suffix=
threads=1
dnssec=off
forward-zones-recurse=.=127.0.0.1:{upstream}
"""
_KNOT = """\
net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})
cache.size = 10 * MB
trust_anchors.remove('.')
dofile('{export}')
policy.add(policy.all(policy.STUB({{'127.0.0.1@{upstream}'}})))
"""


def _powerdns(values: Mapping[str, object]) -> str:
    export = Path(str(values["export"]))
    if (export / "closedmail.zones").exists():
        more = f"forward-zones-file={export}/closedmail.zones\nlua-config-file={export}/closedmail.lua\n"
    else:
        more = f"lua-dns-script={export}/closedmail.lua\n"
    return _POWERDNS.format_map(values) + more


@dataclass(frozen=True)
class Kind:
    """How a server is started: the name of its configuration file, what stands there, and its command line."""

    file: str
    text: Callable[[Mapping[str, object]], str]
    command: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "unbound": Kind("unbound.conf", _UNBOUND.format_map, ("unbound", "-d", "-c", "unbound.conf")),
    "bind": Kind("named.conf", _BIND.format_map, ("named", "-g", "-c", "{folder}/named.conf")),
    "dnsmasq": Kind("dnsmasq.conf", _DNSMASQ.format_map, ("dnsmasq", "-k", "-C", "dnsmasq.conf", "--pid-file=")),
    "powerdns": Kind("recursor.conf", _powerdns, ("pdns_recursor", "--config-dir={folder}")),
    "knot": Kind("kresd.conf", _KNOT.format_map, ("kresd", "-n", "-c", "kresd.conf", ".")),
}
PROGRAMS = tuple(kind.command[0] for kind in KINDS.values())


@contextmanager
def server_with(name: str, export: Path, upstream: Server, folder: Path) -> Iterator[Server]:
    """The server of a target with an export, resolving all else by `upstream`."""
    kind, port = KINDS[name], free_port()
    folder.mkdir()
    values = {"port": port, "upstream": upstream.port, "folder": folder, "export": export}
    (folder / kind.file).write_text(kind.text(values))
    command = [part.format(folder=folder) for part in kind.command]
    with running(command, "127.0.0.1", port, folder) as server:
        yield server
