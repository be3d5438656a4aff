"""Recipients spelled in all ways, sent through a Postfix in a network namespace of its own, with a DNS that knows all.

`in_namespace(folder)` runs this module there as a program. Every domain of `example.` has a public MX, partners' too.
"""

import json
import re
import smtplib
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from closedmail.config import load
from closedmail.sync.run import sync
from support.dns_servers import running
from support.namespaces import in_namespace
from support.network import toml
from support.private_postfix import PrivatePostfix
from support.sink import Sink
from support.spellings import ROUTED, a_label, right, spellings

NEEDS = ("root", "postfix", "ip", "unshare", "unbound", "dig")
PARTNER, PUBLIC = "198.51.100.21", "127.0.0.22"
PARTNERS = (
    *("koeln.example", "köln.example", "straße.example", "fisch.example", "ärger.grün.example", "việt.example"),
    *("한국.example", "☃.example", "কো.example", "σίσυφος.example"),
)
SUFFIXES = ("land.example", "länd.example")  # what is below these, but not they
BELOW = ("amt.land.example", "jülich.länd.example")
CLOSED = ("kim.example", "ärzte.example")  # these, and all below
GUARDED = ("kim.example", "praxis.ärzte.example")
STRANGERS = (
    *("koln.example", "ko-eln.example", "koe.ln.example", "münchen.example", "fußball.example", "grüße.example"),
    *("tiếngviệt.example", "한글.example", "বাংলা.example", "日本語.example", "نامه\u200cی.example", "सत्य.example"),
    *("ไทย.example", "ελλάς.example", "пример.example", "l·l.example", "💩.example", "ŝ\u0323\u0301q.example"),
)
ENTRANCES = ("smtpd", "sendmail", "virtual", "alias", "forward")
_UNBOUND = f"""\
server:
  interface: 127.0.0.1@53
  access-control: 127.0.0.0/8 allow
  use-syslog: no
  pidfile: ""
  chroot: ""
  username: ""
  do-daemonize: no
  module-config: "iterator"
  local-zone: "." static
  local-zone: "example." redirect
  local-data: "example. 60 IN MX 10 mx.public.test."
  local-data: "example. 60 IN A 203.0.113.9"
  local-data: "mx.public.test. 60 IN A {PUBLIC}"
"""
_EXPANDED = {"virtual": "all@city.example", "alias": "list@city.example", "forward": "nobody@city.example"}
_PATIENCE = 40.0  # seconds


@dataclass(frozen=True)
class Outcome:
    """What became of one recipient: `public` and `partner` took it, or `dsn` says why it was refused."""

    entrance: str
    kind: str
    address: str
    public: bool
    partner: bool
    dsn: str


def send_all(folder: Path) -> list[Outcome]:
    """Send everything, below a folder that Postfix can enter."""
    return [Outcome(**values) for values in in_namespace("spelling_bench", folder, 200)]


def recipients() -> list[tuple[str, str, str]]:
    """All recipients as (entrance, kind, address); the local part is the number of the recipient, and unique."""
    domains = [("partner", text) for name in (*PARTNERS, *BELOW) for text in spellings(name)]
    domains += [("closed", text) for name in GUARDED for text in spellings(name)]
    domains += [("stranger", text) for name in STRANGERS for text in right(name)]
    found: list[tuple[str, str, str]] = []
    for at, entrance in enumerate(ENTRANCES):
        # All by SMTP, half of them by each other way.
        for kind, domain in domains[at % 2 :: 2] if at else domains:
            found.append((entrance, kind, f"r{len(found)}@{domain}"))
        if entrance in ("smtpd", "sendmail"):
            for kind, name in (
                ("partner", "köln.example"),
                ("partner", "ko\u0308ln.example"),
                ("closed", "kim.example"),
            ):
                for write in ROUTED:
                    found.append((entrance, kind, write.format(local=f"r{len(found)}", domain=name)))
    return found


def _sync(folder: Path, postfix: PrivatePostfix) -> None:
    """Publish the partners, and have transport_maps name the tables, as setup does."""
    lines = [f"{a_label(name)}\tesmtp:[{PARTNER}]\n" for name in PARTNERS]
    lines += [f".{a_label(name)}\tesmtp:[{PARTNER}]\n" for name in SUFFIXES]
    (folder / "list").write_text("".join(lines))
    settings = {
        "gateway.state_dir": str(folder / "state"),
        "gateway.own_domains": ["city.example"],
        "postfix.map_dir": str(folder / "maps"),
        "postfix.map_type": "lmdb",
        "postfix.config_directory": str(postfix.etc),
        "network.ndb.source": str(folder / "list"),
        "network.ndb.signature": "none",
        "network.ndb.closed_domains": list(CLOSED),
        "network.ndb.inbound.mode": "off",
        "network.ndb.outbound.tls": "may",
        "network.ndb.outbound.transport": "smtp",
    }
    (folder / "closedmail.toml").write_text(toml(settings))
    report = sync(load(folder / "closedmail.toml"))
    assert not report.refused, list(report.lines())
    assert not report.networks["ndb"].skipped, report.networks["ndb"].skipped
    tables = [f"lmdb:{folder}/maps/transport"]
    if (folder / "maps/recipients_unusual").exists():  # so that without it mail leaves, and doesn't wait
        tables.append(f"regexp:{folder}/maps/recipients_unusual")
    postfix.postconf("-e", f"transport_maps = {', '.join(tables)}")


def _write_expansions(folder: Path, everyone: list[tuple[str, str, str]]) -> None:
    """What the addresses of `_EXPANDED` stand for; Postfix reads such tables when it starts."""
    to = {entrance: [address for where, _, address in everyone if where == entrance] for entrance in _EXPANDED}
    (folder / "virtual").write_text(f"all@city.example {', '.join(to['virtual'])}\n")
    (folder / "aliases").write_text(f"list {', '.join(to['alias'])}\n")
    (folder / "forward").write_text("".join(f"{address}\n" for address in to["forward"]))
    for name in ("virtual", "aliases", "forward"):
        (folder / name).chmod(0o644)


def _send(postfix: PrivatePostfix, entrance: str, to: list[str]) -> dict[str, str]:
    """Send a mail to all; the enhanced status of each one that is refused at once."""
    match entrance:
        case "smtpd":
            refused = {}
            with smtplib.SMTP(postfix.address, postfix.port, timeout=60) as client:
                client.ehlo()
                client.command_encoding = "utf-8"
                assert client.docmd("MAIL", "FROM:<> SMTPUTF8")[0] == 250
                for address in to:
                    code, text = client.docmd("RCPT", f"TO:<{address}>")
                    if code != 250:
                        refused[address] = text.decode().split()[0]
                assert client.data(b"Subject: test\r\n\r\ntest\r\n")[0] == 250
            return refused
        case "sendmail":
            head = "Subject: test\nTo: " + ",\n ".join(to) + "\n\ntest\n"
            postfix.run("sendmail", "-C", str(postfix.etc), "-f", "<>", "-t", "-i", stdin=head.encode())
        case _:
            postfix.submit("<>", [_EXPANDED[entrance]])
    return {}


def _main(folder: Path) -> None:
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
    for command in ("ip link set lo up", "mount --make-rprivate /", f"mount --bind {resolver} /etc/resolv.conf"):
        subprocess.run(command.split(), check=True)
    (folder / "dns").mkdir()
    (folder / "dns" / "unbound.conf").write_text(_UNBOUND)
    everyone = recipients()
    _write_expansions(folder, everyone)
    main = {
        "smtp_host_lookup": "dns",
        "smtp_dns_support_level": "enabled",
        "default_transport": "smtp",
        "local_transport": "local",
        "inet_protocols": "ipv4",
        "mynetworks": "127.0.0.1/32",
        "virtual_alias_maps": f"texthash:{folder}/virtual",
        "virtual_alias_expansion_limit": "10000",
        "alias_maps": f"texthash:{folder}/aliases",
        "forward_path": f"{folder}/forward",
        "smtpd_recipient_limit": "10000",
        "smtpd_soft_error_limit": "10000",
        "smtpd_hard_error_limit": "10000",
        "smtpd_junk_command_limit": "10000",
        "header_size_limit": "1000000",
        "local_header_rewrite_clients": "",
        "smtp_tls_security_level": "none",
        "default_process_limit": "20",
        "queue_run_delay": "300s",
        "minimal_backoff_time": "300s",
        "maximal_backoff_time": "300s",
    }
    with ExitStack() as stack:
        stack.enter_context(running(["unbound", "-d", "-c", "unbound.conf"], "127.0.0.1", 53, folder / "dns"))
        # No more than the sinks let wait.
        postfix = PrivatePostfix(folder / "postfix", main, services=["smtp unix - - n - 4 smtp"])
        stack.enter_context(postfix)
        _sync(folder, postfix)
        # Only now: no list may route to an address of the machine itself.
        subprocess.run(f"ip address add {PARTNER}/32 dev lo".split(), check=True)
        partner, public = (stack.enter_context(Sink(address, 25)) for address in (PARTNER, PUBLIC))
        postfix.reload()
        refused: dict[str, str] = {}
        for entrance in ENTRANCES:
            refused |= _send(postfix, entrance, [address for where, _, address in everyone if where == entrance])
        dsn = {
            number: refused[address] for _, _, address in everyone if address in refused for number in _number(address)
        }
        logged = _statuses(postfix.log_file, {n for _, _, address in everyone for n in _number(address)} - dsn.keys())
        took = [{n for mail in sink.mails for to in mail.recipients for n in _number(to)} for sink in (partner, public)]
    found = []
    for entrance, kind, address in everyone:
        (number,) = _number(address)
        found.append(
            Outcome(
                entrance, kind, address, number in took[1], number in took[0], dsn.get(number) or logged.get(number, "")
            )
        )
    print(json.dumps([asdict(each) for each in found]))


def _statuses(log: Path, wanted: set[str]) -> dict[str, str]:
    """The enhanced status of each recipient that is in the log by the time that is given to it."""
    pattern = re.compile(r" to=<(.*), relay=.*, dsn=([\d.]+), status=\w+ (.*)")
    found: dict[str, str] = {}
    deadline = time.monotonic() + _PATIENCE
    with log.open(encoding="utf-8", errors="replace") as lines:
        while wanted - found.keys() and time.monotonic() < deadline:
            for line in lines:
                if match := pattern.search(line):
                    to, status, why = match.groups()
                    # local(8) bounces what an alias should not have, in the name of the alias.
                    for number in _number(to) or (_number(why) if "bad recipient" in why else ()):
                        found[number] = status
            time.sleep(0.2)
    return found


def _number(address: str) -> set[str]:
    return set(re.findall(r"\br\d+\b", address))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
