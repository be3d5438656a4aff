"""A gateway on a machine with Sendmail: closedmail of the checkout, its maps, and the Sendmail that reads them.

Its state directory belongs to smmta, Debian's TrustedUser: Sendmail opens no map that anybody else owns but root.
"""

import json
from collections.abc import Mapping
from typing import Any

from support.machines.sendmail import HEAD, MAILERS
from support.machines.tree import Machine

STATE = "/var/lib/closedmail"
MAPS = f"{STATE}/sendmail"
CONFIG = "/etc/closedmail/closedmail.toml"
MC = (
    HEAD
    + f"""\
define(`confCACERT_PATH', `/etc/mail/tls')
define(`confCACERT', `/etc/mail/tls/ca.pem')
FEATURE(`mailertable', `hash {MAPS}/mailertable')
FEATURE(`access_db', `hash -T<TMPF> {MAPS}/access')
"""
    + MAILERS
)
OWN_ACCESS = "Connect:127.0.0.1 RELAY\n"


class SendmailGateway:
    """`put` a list, `sync`, look at what came of it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.run("rm", "-rf", STATE, "/etc/closedmail")
        machine.run("mkdir", "-p", STATE, "/etc/closedmail")
        machine.run("chown", "smmta", STATE)
        machine.write("/etc/mail/access.own", OWN_ACCESS)
        machine.write("/etc/mail/mailertable.own", "")
        self.configure()

    def configure(
        self, *, tls: str = "encrypt", gateway: str = "", outbound: str = "", network: str = "", more: str = ""
    ) -> None:
        """Write the configuration file."""
        self.machine.write(
            CONFIG,
            f"""\
[gateway]
own_domains = ["city.example"]
{gateway}
[sendmail]
own_access = "/etc/mail/access.own"
own_mailertable = "/etc/mail/mailertable.own"
[network.ndb]
source = "/etc/closedmail/list"
signature = "none"
shrink_limit = "100%"
{network}
[network.ndb.outbound]
tls = "{tls}"
{outbound}
[network.ndb.inbound]
mode = "report"
allow_from = ["192.0.2.0/24"]
{more}
""",
        )

    def put(self, *lines: str) -> None:
        """Put a list where it is fetched."""
        self.machine.write("/etc/closedmail/list", "".join(f"{line}\n" for line in lines))

    def sync(self, *options: str, status: int = 0) -> dict[str, Any]:
        """Run sync, whose exit status is given; its report."""
        done = self.machine.closedmail(CONFIG, "sync", "--json", *options, check=False)
        assert done.returncode == status, done
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}
        return found

    def explain(self, recipient: str, status: int = 0) -> dict[str, Any]:
        """What explain says of a recipient."""
        done = self.machine.closedmail(CONFIG, "explain", "--recipient", recipient, "--json", check=False)
        assert done.returncode == status, done
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def rows(self, table: str) -> Mapping[str, str]:
        """A table's rows as its index has them."""
        text = self.machine.run("makemap", "-u", "hash", f"{MAPS}/{table}").stdout
        return dict(line.split("\t", 1) for line in text.splitlines())
