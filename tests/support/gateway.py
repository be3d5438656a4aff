"""A gateway in a folder: closedmail.toml, an unsigned list, and generations of it without gpg or Postfix."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from closedmail.config import load
from closedmail.sync.run import sync
from closedmail.sync.sync_report import SyncReport

# A partner of every mode and kind of proof; the addresses that may send are 192.0.2.1 and what has 2001:db8::/32.
PARTNERS = """
[partner."report.example"]
network = "ndb"
inbound.mode = "report"
[partner."defer.example"]
network = "ndb"
inbound.mode = "defer"
[partner."off.example"]
network = "ndb"
inbound.mode = "off"
[partner."cert.example"]
network = "ndb"
inbound.require = "cert"
inbound.certificates = [{issuer = "Closed Net CA", subject = "mx 1.cert.example"}, {fingerprint = "{AB}"}]
[partner."both.example"]
network = "ndb"
inbound.require = "ip and cert"
inbound.certificates = [{pubkey_fingerprint = "{CD}"}]
[partner."tls.example"]
network = "ndb"
inbound.require_tls = true
[partner."alone.example"]
inbound = {mode = "enforce", allow_from = ["198.51.100.7"]}
[partner."own.city.example"]
network = "ndb"
""".replace("{AB}", "ab" * 32).replace("{CD}", ":".join(["CD"] * 32))

LIST = (
    "koeln.example\tesmtp:[192.0.2.20]",
    "bonn.example\tesmtp:[192.0.2.21]:[192.0.2.22]",
    "mx.example\tsmtp:relay.mx.example",
    "xn--dsseldorf-q9a.example\tesmtp:[192.0.2.23]",
    ".land.example\tesmtp:[IPv6:2001:db8::25]",
    "gone.example\terror:5.1.2:550 moved away",
)


class Gateway:
    """`configure()`, `write_list(LIST)` and `sync()` make a generation; each can be called again to change things."""

    def __init__(self, folder: Path, *, listen: str = "") -> None:
        self.folder = folder
        self.config = folder / "closedmail.toml"
        self.list = folder / "list"
        self.state_dir = folder / "state"
        self.socket = folder / "run" / "policy.sock"
        self.listen = listen or f"unix:{self.socket}"

    @property
    def store(self) -> Path:
        return self.state_dir / "store"

    def configure(
        self,
        *,
        policyd: str = "",
        gateway: str = "",
        network: str = 'signature = "none"\nsource = "{list}"',
        inbound: str = 'mode = "enforce"\nallow_from = ["192.0.2.1", "2001:db8::/32"]',
        outbound: str = 'tls = "encrypt"\ntransport = "smtp"',
        partners: str = PARTNERS,
        more: str = "",
        listen: Iterable[str] = (),
    ) -> None:
        """Write the configuration; the arguments are the lines of its tables. `{list}` is where the list lies."""
        where = ", ".join(f'"{each}"' for each in (listen or [self.listen]))
        self.config.write_text(
            f'[gateway]\nstate_dir = "{self.state_dir}"\nown_domains = ["city.example", "own.land.example"]\n'
            f'trusted_clients = ["203.0.113.0/24"]\n{gateway}\n'
            f"[policyd]\nlisten = [{where}]\n{policyd}\n"
            f"[network.ndb]\n{network.replace('{list}', str(self.list))}\n"
            f"[network.ndb.inbound]\n{inbound}\n[network.ndb.outbound]\n{outbound}\n{partners}\n{more}\n"
        )

    def write_list(self, lines: Iterable[str]) -> None:
        self.list.write_text("".join(f"{line}\n" for line in lines))

    def sync(self, *, force: bool = False, now: int | None = None) -> SyncReport:
        report = sync(load(self.config), force=force, now=now)
        assert not report.refused, list(report.lines())
        return report


def make_gateway(folder: Path, **tables: Any) -> Gateway:
    """A gateway with a generation in force; `tables` go to `configure`."""
    folder.mkdir(parents=True, exist_ok=True)
    gateway = Gateway(folder)
    gateway.write_list(LIST)
    gateway.configure(**tables)
    gateway.sync()
    return gateway
