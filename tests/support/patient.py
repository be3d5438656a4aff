"""A gateway for `doctor` to look at: a Debian Postfix's configuration with closedmail wired in, below one directory.

Nothing of Postfix runs; postconf and postmap read the folder. policyd runs, in a process of its own.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail.config import load
from closedmail.demo.demo_certificates import Authority
from closedmail.doctor.doctor import find_findings
from closedmail.doctor.finding import Finding
from closedmail.sync.run import sync
from support.daemon import Daemon
from support.real import SBIN

EXAMPLE = Path(__file__).parents[2] / "postfix-examples" / "netz-des-bundes"
# What Debian's package makes of "Internet site", and its master.cf as far as it matters.
MAIN_CF = """\
# See /usr/share/postfix/main.cf.dist for a commented, more complete version

smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no

# appending .domain is the MUA's job.
append_dot_mydomain = no
compatibility_level = 3.6

smtpd_tls_cert_file={folder}/server.pem
smtpd_tls_key_file={folder}/server.key
smtpd_tls_security_level=may
smtpd_tls_CAfile={folder}/ca.pem

smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may

smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = gateway.city.example
mydestination = $myhostname, city.example, localhost.city.example, , localhost
relayhost =
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = all
inet_protocols = all
queue_directory = {folder}/queue
data_directory = {folder}/data
"""
MASTER_CF = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
#submission inet n       -       y       -       -       smtpd
#  -o syslog_name=postfix/submission
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
rewrite   unix  -       -       y       -       -       trivial-rewrite
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
error     unix  -       -       y       -       -       error
retry     unix  -       -       y       -       -       error
discard   unix  -       -       y       -       -       discard
"""
PIN = "AB" * 32
CONFIG = f"""\
[gateway]
state_dir = "{{folder}}/state"
own_domains = ["city.example"]
[postfix]
map_dir = "{{folder}}/state/postfix"
config_directory = "{{folder}}/etc"
[policyd]
listen = ["unix:{{folder}}/queue/closedmail/policy.sock"]
socket_group = "postfix"
[network.ndb]
source = "{{folder}}/list"
signature = "none"
closed_domains = ["closed.example"]
outbound = {{{{ tls = "may" }}}}
inbound = {{{{ mode = "enforce", allow_from = ["198.51.100.0/24"] }}}}
[partner."clinic.example"]
network = "ndb"
outbound = {{{{ tls = "fingerprint", tls_match = ["{PIN}"] }}}}
inbound = {{{{ require = "cert", certificates = [{{{{ pubkey_fingerprint = "{PIN}" }}}}] }}}}
[partner."bank.example"]
network = "ndb"
inbound = {{{{ require = "ip and cert", certificates = [{{{{ issuer = "Closed Net CA", subject = "bank" }}}}] }}}}
"""
LIST = """\
koeln.example\tesmtp:[192.0.2.1]
clinic.example\tesmtp:[192.0.2.2]
bank.example\tesmtp:[192.0.2.3]
.land.example\tesmtp:[192.0.2.4]
"""


class Patient:
    """`main`, `master` and `config` are the files; `keep` remembers them as they are, `restore` puts them back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.etc = folder, folder / "etc"
        self.main, self.master = self.etc / "main.cf", self.etc / "master.cf"
        self.config, self.list = folder / "closedmail.toml", folder / "list"
        self._kept: dict[Path, str] = {}

    def make(self, *, wired: bool) -> None:
        """Write everything; with `wired` closedmail is in main.cf and master.cf as the example says, and in force."""
        self.folder.chmod(0o755)
        self.etc.mkdir()
        (self.folder / "queue" / "closedmail").mkdir(parents=True)
        authority = Authority(self.folder)
        server = authority.issue("gateway.city.example")
        shutil.copy(server.certificate, self.folder / "server.pem")
        shutil.copy(server.key, self.folder / "server.key")
        self.list.write_text(LIST)
        self.main.write_text(MAIN_CF.format(folder=self.folder))
        self.master.write_text(MASTER_CF)
        self.config.write_text(CONFIG.format(folder=self.folder))
        if wired:
            self._wire()
            self.sync()
        self.settle()

    def _wire(self) -> None:
        (self.etc / "transport").touch()
        self.postfix("postmap", "-c", str(self.etc), str(self.etc / "transport"))
        for name, path in (("main.cf", self.main), ("master.cf", self.master)):
            text = (EXAMPLE / name).read_text()
            text = text.replace("/etc/closedmail/ndb", str(self.folder)).replace("/etc/postfix", str(self.etc))
            text = text.replace("/var/lib/closedmail", f"{self.folder}/state")
            if path == self.main:  # as postconf -e would, without a second entry
                names = {line.partition("=")[0].strip() for line in text.splitlines() if line[:1].isalpha()}
                kept = [
                    line for line in path.read_text().splitlines(True) if line.partition("=")[0].strip() not in names
                ]
                path.write_text("".join(kept))
            with path.open("a") as file:
                file.write(text)

    def sync(self) -> None:
        report = sync(load(self.config))
        assert not report.refused, list(report.lines())

    def findings(self, *, later: int = 0) -> list[Finding]:
        """What doctor finds, so many seconds from now."""
        self.settle()
        return find_findings(load(self.config), int(time.time()) + later)

    def settle(self) -> None:
        """Make both files look old: Postfix's programs read one that has just been written over and over."""
        for path in (self.main, self.master):
            os.utime(path, (time.time() - 60,) * 2)

    def postconf(self, *arguments: str) -> None:
        self.postfix("postconf", "-c", str(self.etc), *arguments)

    def set(self, *settings: str) -> None:
        self.postconf("-e", *settings)

    def postfix(self, *command: str) -> str:
        environment = {**os.environ, "PATH": f"{SBIN}:/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def mend(self, finding: Finding) -> None:
        """Run the commands of a finding, as an administrator would."""
        closedmail = f'closedmail() {{ {shlex.quote(sys.executable)} -m closedmail "$@"; }}'
        environment = {**os.environ, "PATH": f"{SBIN}:/usr/bin:/bin"}
        script = "\n".join((closedmail, *finding.fix))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    def edit(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def keep(self) -> None:
        self._kept = {path: path.read_text() for path in (self.main, self.master, self.config, self.list)}

    def restore(self) -> None:
        for path, text in self._kept.items():
            path.write_text(text)


@contextmanager
def patient(*, wired: bool, daemon: bool = True) -> Iterator[Patient]:
    """A gateway, with policyd running."""
    # Others must be able to enter it, and a socket's path must be short.
    with TemporaryDirectory(prefix="closedmail-", dir="/tmp") as name:
        made = Patient(Path(name))
        made.make(wired=wired)
        if daemon:
            with Daemon(made.config):
                yield made
        else:
            yield made
