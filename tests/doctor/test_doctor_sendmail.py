"""`closedmail doctor` on a machine with Sendmail: silent where all is well, and each fault found and mended."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.machines.sendmail import CF, HEAD, Sendmail
from support.machines.sendmail_gateway import CONFIG, MAPS, STATE
from support.machines.tree import CHECKOUT, NEEDS, Machine

from closedmail.demo.demo_certificates import Authority

pytestmark = pytest.mark.real(*NEEDS, "openssl")

EXAMPLE = CHECKOUT / "postfix-examples" / "sendmail"
LIST = "koeln.example esmtp:[198.18.0.11]\n.kreis.example esmtp:[198.18.0.12]\n"
MC, SENDMAIL_CF = "/etc/mail/sendmail.mc", "/etc/mail/sendmail.cf"
SOCKET = "/run/closedmail/milter.sock"
# No DNS on the machine, and what else a test needs that a gateway doesn't.
BENCH = "\n".join(line for line in HEAD.splitlines() if re.search(r"SWITCH|LOG_LEVEL|TO_|PROBE|HOST_STATUS", line))

RESIDENT = f"""
import json, os, sys, time
from pathlib import Path
from closedmail.doctor.doctor import find_findings
from closedmail.config import load
from closedmail.programs import environment
os.environ.update(environment())
for line in sys.stdin:
    findings = find_findings(load(Path("{CONFIG}")), int(time.time()))
    print(json.dumps([finding.to_json() for finding in findings]), flush=True)
"""


class Patient:
    """A machine as postfix-examples/sendmail makes it, and `put` to make it ill."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.machine = machine
        authority = Authority(folder)
        certificate = authority.issue("gateway.city.example")
        machine.write("/etc/mail/tls/closed-ca.pem", authority.ca_file.read_bytes())
        machine.write("/etc/mail/tls/gateway.pem", certificate.certificate.read_bytes())
        machine.write("/etc/mail/tls/gateway.key", certificate.key.read_bytes(), 0o600)
        machine.write("/list", LIST)
        machine.run("install", "-d", "-o", "smmta", "-g", "smmsp", "-m", "755", STATE)
        self.toml = re.sub(
            r"source = .*\nkey_file = .*\nsigning_keys = .*",
            'source = "/list"\nsignature = "none"',
            (EXAMPLE / "closedmail.toml").read_text(),
        )
        self.mc = (EXAMPLE / "gateway.mc").read_text()
        self.machine.copy([EXAMPLE / "mailertable.own", EXAMPLE / "access.own"], "/etc/mail")
        self.machine.run("mkdir", "-p", "/run/closedmail")
        self.cf = self.made(self.mc)
        self.restore()
        machine.closedmail(CONFIG, "sync")
        self.resident = subprocess.Popen(
            machine.command(*machine.python("-c", RESIDENT)),
            env=machine.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.milter = machine.start(*machine.python("-m", "closedmail", "--config", CONFIG, "milter"))
        deadline = time.monotonic() + 15
        while not (machine.root / SOCKET.lstrip("/")).is_socket():
            assert self.milter.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def made(self, mc: str) -> str:
        """The sendmail.cf of a .mc."""
        return self.machine.run("m4", f"-D_CF_DIR_={CF}/", f"{CF}/m4/cf.m4", "-", stdin=mc).stdout

    def restore(self) -> None:
        """Files as they were; what a shell command did is taken back by its own."""
        self.machine.write(MC, self.mc)
        self.machine.write(SENDMAIL_CF, self.cf)
        self.machine.write(CONFIG, self.toml)
        self.machine.copy([EXAMPLE / "mailertable.own", EXAMPLE / "access.own"], "/etc/mail")
        self.machine.write("/etc/mail/relay-domains", "")

    def shell(self, *commands: str) -> None:
        """Run commands of a shell there."""
        command = 'closedmail() { PYTHONPATH=/opt/closedmail python3 -m closedmail "$@"; }\n' + "\n".join(commands)
        self.machine.run("sh", "-ec", command)

    def doctor(self) -> list[dict[str, Any]]:
        """What it finds, in a process that is started once."""
        assert self.resident.stdin
        assert self.resident.stdout
        self.resident.stdin.write("\n")
        self.resident.stdin.flush()
        found: list[dict[str, Any]] = json.loads(self.resident.stdout.readline())
        return found

    def command(self, *options: str) -> tuple[int, list[dict[str, Any]]]:
        """The command itself: its exit status, and what it finds."""
        done = self.machine.closedmail(CONFIG, "doctor", "--json", *options, check=False)
        return done.returncode, json.loads(done.stdout)["findings"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    with Machine() as machine:
        yield Patient(machine, tmp_path_factory.mktemp("ca"))


@pytest.fixture
def well(gateway: Patient) -> Iterator[Patient]:
    yield gateway
    gateway.restore()


@dataclass(frozen=True)
class Fault:
    """What puts a fault in: `mc` and `toml` are a text and what stands in its place, `run` a command that `undo` takes
    back; and what doctor says. `line` is what it has written into the .mc, where that mends it."""

    id: str
    text: str
    mc: tuple[str, str] | None = None
    toml: tuple[str, str] | None = None
    run: str = ""
    undo: str = ""
    fix: tuple[str, ...] = ()
    line: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.id} {self.text}"

    def put(self, well: Patient) -> str:
        """The .mc that is ill."""
        mc = well.mc
        if self.mc:
            mc = replaced(mc, self.mc)
            well.machine.write(SENDMAIL_CF, well.made(mc))
        if self.toml:
            well.machine.write(CONFIG, replaced(well.toml, self.toml))
        if self.run:
            well.shell(self.run)
        return mc


def replaced(text: str, change: tuple[str, str]) -> str:
    assert change[0] in text, change[0]
    return text.replace(change[0], change[1])


def add(*lines: str) -> tuple[str, str]:
    """A line more in the .mc."""
    return "MAILER(`local')", "\n".join((*lines, "MAILER(`local')"))


MAILERTABLE = f"FEATURE(`mailertable', `hash {MAPS}/mailertable')"
ACCESS = f"FEATURE(`access_db', `hash -T<TMPF> {MAPS}/access')"
NOCANONIFY = "FEATURE(`nocanonify')"
FILTER = f"INPUT_MAIL_FILTER(`closedmail', `S=local:{SOCKET}, F=T, T=C:1m;S:30s;R:30s;E:2m')"
FORM = '\n[partner."f{n}.example"]\ninbound = {{ mode = "enforce", require = "cert", certificates = [{{{pin}}}] }}\n'
END = "# One member more than the list has"


def pinned(*pins: str) -> tuple[str, str]:
    """Partners that must show certificates."""
    tables = "".join(FORM.format(n=number, pin=pin) for number, pin in enumerate(pins))
    return END, f"{tables}\n{END}"


SUBJECT = pinned('subject = "mx.f0.example"')
SHA256 = "ab" * 32

FAULTS = [
    # Maps
    Fault("mailertable-map", "does not look into", mc=(MAILERTABLE, ""), line=f"{MAILERTABLE}dnl"),
    Fault(
        "mailertable-map",
        "sendmail.cf has /etc/mail/mailertable for mailertable",
        mc=(MAILERTABLE, "FEATURE(`mailertable')"),
        line=f"{MAILERTABLE}dnl",
    ),
    Fault(
        "mailertable-map",
        "does not look into",
        mc=(MAILERTABLE, f"LOCAL_CONFIG\nKmailertable hash {MAPS}/mailertable"),
        line=f"{MAILERTABLE}dnl",
    ),
    Fault("access-map", "does not look into", mc=(ACCESS, ""), line=f"{ACCESS}dnl"),
    Fault(
        "access-map",
        "sendmail.cf has /etc/mail/access for access",
        mc=(ACCESS, "FEATURE(`access_db')"),
        toml=('own_access = "/etc/mail/access.own"\n', ""),
        line=f"{ACCESS}dnl",
    ),
    Fault("sendmail-map-type", "as of type btree", mc=(f"hash {MAPS}/m", f"btree {MAPS}/m"), line=f"{MAILERTABLE}dnl"),
    Fault("map-optional", "has -o for mailertable", mc=(f"hash {MAPS}", f"hash -o {MAPS}"), line=f"{MAILERTABLE}dnl"),
    Fault("map-optional", "has -t for access", mc=("hash -T", "hash -t -T"), line=f"{ACCESS}dnl"),
    Fault("sendmail-mailers", "no mailer smtp", mc=("MAILER(`smtp')", ""), line="MAILER(`smtp')dnl"),
    Fault(
        "map-missing",
        "mailertable.db is as a text only",
        run=f"rm {MAPS}/mailertable.db",
        fix=("closedmail sync",),
    ),
    Fault("map-missing", "access.db is not there", run=f"rm {MAPS}/access*", fix=("closedmail sync",)),
    Fault("map-folder", "unsafe map file", run=f"chmod 775 {MAPS}", fix=("closedmail sync",)),
    Fault("map-access", f"because of {STATE}", run=f"chmod 700 {STATE}", fix=(f"chmod 0755 {STATE}",)),
    Fault(
        "own-rows",
        "because of /etc/mail/access.own",
        run="chmod 600 /etc/mail/access.own",
        fix=("chmod 0644 /etc/mail/access.own",),
    ),
    Fault(
        "own-rows",
        "because of /srv/closed): sync is refused; make it readable",
        toml=("/etc/mail/access.own", "/srv/closed/access.own"),
        run="install -d -m 700 /srv/closed && cp /etc/mail/access.own /srv/closed",
    ),
    Fault("own-rows", "No such file", run="rm /etc/mail/mailertable.own"),
    Fault("makemap", "apt install", run="mv /usr/sbin/makemap /x", undo="mv /x /usr/sbin/makemap"),
    # Routes
    Fault("nocanonify", "asks the DNS", mc=(NOCANONIFY, ""), line=f"{NOCANONIFY}dnl"),
    Fault(
        "nocanonify",
        "koeln.example in class Canonify (CANONIFY_DOMAIN), and koeln.example is a partner",
        mc=add("CANONIFY_DOMAIN(`koeln.example other.example')"),
    ),
    Fault("nocanonify", "has example in class Canonify", mc=add("CANONIFY_DOMAIN(`example')")),
    Fault("nocanonify", "and .kreis.example is a partner", mc=add("CANONIFY_DOMAIN(`a.kreis.example')")),
    Fault("nocanonify", "the listener B in", mc=add("DAEMON_OPTIONS(`Name=B, Port=2525, M=c')")),
    Fault(
        "fallback-relay",
        "FallbackSmartHost=relay.example: partners' mail goes there",
        mc=add("define(`confFALLBACK_SMARTHOST', `relay.example')"),
    ),
    Fault("fallback-relay", "FallbackMXhost=relay.example", mc=add("define(`confFALLBACK_MX', `relay.example')")),
    # The milter
    Fault("milter-missing", "does not ask", mc=(FILTER, ""), line=f"{FILTER}dnl"),
    Fault("milter-flags", "no F=T", mc=(" F=T,", ""), line=f"{FILTER}dnl"),
    Fault("milter-flags", "F=R", mc=("F=T", "F=R"), severity="warning", line=f"{FILTER}dnl"),
    Fault("milter-socket", "asks at unix:/run/x", mc=(SOCKET, "/run/x"), line=f"{FILTER}dnl"),
    Fault("milter-unused", "InputMailFilters in", mc=("INPUT_MAIL_FILTER", "MAIL_FILTER"), line=f"{FILTER}dnl"),
    Fault(
        "milter-unused",
        "listener B",
        mc=add("MAIL_FILTER(`o', `S=local:/x')", "DAEMON_OPTIONS(`Name=B, Port=2525, InputMailFilters=o')"),
    ),
    Fault(
        "milter",
        "does not answer",
        mc=(SOCKET, "/run/x"),
        toml=("[milter]", '[milter]\nlisten = ["unix:/run/x"]'),
    ),
    Fault("milter-folder", "does not start", run="chmod 775 /run/closedmail", fix=("chmod 0755 /run/closedmail",)),
    # Certificates
    Fault("starttls", "has no CACertFile", mc=("define(`confCACERT'", "dnl"), toml=SUBJECT),
    Fault("starttls", "has no ServerCertFile", mc=("define(`confSERVER_CERT'", "dnl"), toml=SUBJECT),
    Fault("starttls", "gone.key, ServerKeyFile", mc=("_KEY', `/etc/mail/tls/gateway", "_KEY', `/gone"), toml=SUBJECT),
    Fault(
        "starttls",
        "has mode 0640",
        toml=SUBJECT,
        run="chmod 640 /etc/mail/tls/gateway.key",
        fix=("chmod 0600 /etc/mail/tls/gateway.key",),
    ),
    Fault("starttls", "has M=S", mc=("Port=smtp", "Port=smtp, M=S"), toml=SUBJECT),
    Fault("ask-ccert", "V in TLSSrvOptions", mc=add("define(`confTLS_SRV_OPTIONS', `V')"), toml=SUBJECT),
    Fault("ask-ccert", "Srv_Features: with V", toml=SUBJECT, run="echo 'Srv_Features:\tV' >>/etc/mail/access.own"),
    Fault(
        "fingerprint-digest",
        "in SHA-256, but Sendmail makes MD5",
        toml=pinned(f'fingerprint = "{SHA256}"'),
        line="define(`confCERT_FINGERPRINT_ALGORITHM', `sha256')dnl",
    ),
    Fault("pubkey-fingerprint", "any certificate passes", toml=pinned(f'pubkey_fingerprint = "{SHA256}"')),
    Fault(
        "client-ca-public",
        "CACertPath = /etc/ssl/certs",
        mc=("`/etc/mail/tls')", "`/etc/ssl/certs')"),
        toml=SUBJECT,
        severity="warning",
    ),
    Fault("cert-altnames", "goes on to compare", mc=add("FEATURE(`check_cert_altnames')")),
    Fault("tls-perm-err", "returned at once", mc=add("define(`TLS_PERM_ERR')"), severity="warning"),
    # Domains
    Fault("partner-local", "sendmail.cf, class w", mc=add("LOCAL_DOMAIN(`koeln.example')")),
    Fault("partner-local", "class VirtHost", mc=add("VIRTUSER_DOMAIN(`a.kreis.example')")),
    Fault("partner-relayed", "relay-domains has koeln.example", run="echo koeln.example >>/etc/mail/relay-domains"),
    Fault("partner-relayed", "access.own has koeln", run="echo 'To:koeln.example\tRELAY' >>/etc/mail/access.own"),
    Fault("own-domains", "town.example (class R", mc=add("RELAY_DOMAIN(`town.example')"), severity="warning"),
    Fault("own-domains", "town.example (class w", mc=add("LOCAL_DOMAIN(`town.example')"), severity="warning"),
    Fault(
        "own-domains",
        "town.example (/etc/mail/access.own)",
        run="echo 'To:town.example\tRELAY' >>/etc/mail/access.own",
        severity="warning",
    ),
    Fault(
        "relay-parents",
        "klinik.city.example (below city.example)",
        toml=('[partner."klinik.example"]', '[partner."klinik.city.example"]'),
    ),
    Fault(
        "relay-parents",
        "klinik.city.example (below city.example)",
        mc=add("FEATURE(`relay_hosts_only')", "FEATURE(`relay_entire_domain')"),
        toml=('[partner."klinik.example"]', '[partner."klinik.city.example"]'),
    ),
    Fault(
        "relay-by-sender",
        "relay_mail_from",
        mc=add("FEATURE(`relay_mail_from')"),
        run="echo 'From:city.example\tRELAY' >>/etc/mail/access.own",
    ),
    Fault(
        "allow-from-trusted",
        "192.0.2.0/24, which overlaps trusted_clients (192.0.2.0/28)",
        toml=('["10.1.1.0/24"]', '["10.1.1.0/24", "192.0.2.0/28"]'),
        severity="warning",
    ),
    Fault(
        "outbound-ca",
        "partners' certificates verified",
        mc=("/etc/mail/tls", "/none"),
    ),
    Fault("open-relay", "promiscuous_relay", mc=add("FEATURE(`promiscuous_relay')")),
    Fault("relay-by-sender", "relay_local_from", mc=add("FEATURE(`relay_local_from')")),
    Fault("permit-mx-backup", "MX", mc=add("FEATURE(`relay_based_on_MX')"), severity="warning"),
    Fault("permit-tls-all-clientcerts", "CertIssuer", run="echo 'CertIssuer:/CN=CA\tRELAY' >>/etc/mail/access.own"),
    Fault(
        "unknown-sender-domain",
        "public DNS",
        mc=("FEATURE(`accept_unresolvable_domains')", ""),
        line="FEATURE(`accept_unresolvable_domains')dnl",
        severity="warning",
    ),
    # Clients
    Fault("mynetworks-trusted", "10.9.0.0/16", mc=add("RELAY_DOMAIN(`10.9')"), severity="warning"),
    Fault(
        "allow-from-mynetworks",
        "192.0.2.0/24 of /etc/mail/access.own",
        toml=('["10.1.1.0/24"]', '["10.1.1.0/24", "192.0.2.0/25"]'),
        run="echo 'Connect:192.0.2\tRELAY' >>/etc/mail/access.own",
        severity="warning",
    ),
    # What runs
    Fault("sendmail-mc", "changed since", run=f"touch -d '+1 min' {MC}", severity="warning"),
    Fault("sendmail", "is not there", run=f"rm {SENDMAIL_CF}"),
]
# Those that are found beside it, since the one fault is two.
ALSO = {
    "192.0.2.0/24 of /etc/mail/access.own": {"mynetworks-trusted", "allow-from-trusted"},
}


def test_the_example_is_well(gateway: Patient) -> None:
    assert gateway.command() == (0, [])


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault(well: Patient, fault: Fault) -> None:
    mc = fault.put(well)
    try:
        findings = well.doctor()
        found = [item for item in findings if item["id"] == fault.id]
        assert found, findings
        assert {item["id"] for item in findings} == {fault.id} | ALSO.get(fault.text, set()), findings
        assert found[0]["severity"] == fault.severity
        assert fault.text in found[0]["text"], found[0]["text"]
        fix = tuple(command.replace(f"--config {CONFIG} ", "") for command in found[0]["fix"])
        assert fix == fault.fix
        if fault.fix:
            well.shell(*found[0]["fix"])
            assert well.doctor() == []
        if fault.line:
            assert fault.line in found[0]["text"]
            ours = re.escape(fault.line.partition(",")[0])
            mended = re.sub(rf"^(?:{ours}\b|MAIL_FILTER).*\n", "", mc, flags=re.MULTILINE)
            well.machine.write(
                SENDMAIL_CF, well.made(mended.replace("MAILER(`local')", f"{fault.line}\nMAILER(`local')"))
            )
            assert well.doctor() == []
    finally:
        if fault.undo:
            well.shell(fault.undo)


# What looks like a fault, and is none.
SEQUENCE = f"""LOCAL_CONFIG
Kours hash {MAPS}/mailertable
Kmore hash -o /etc/mail/more
FEATURE(`mailertable', `sequence more ours')"""
KEY = ("chmod 640 /etc/mail/tls/gateway.key", "chmod 600 /etc/mail/tls/gateway.key")
OTHER = "MAIL_FILTER(`o', `S=local:/x')"
WELL: dict[str, dict[str, Any]] = {
    "a sequence": {"mc": (MAILERTABLE, SEQUENCE)},
    "the map with its ending": {"mc": (f"{MAPS}/mailertable", f"{MAPS}/mailertable.db")},
    "mail is put off by closing": {"mc": ("F=T", "F=4")},
    "another word for the socket": {"mc": ("local:/run", "unix:/run")},
    "another name": {"mc": ("`closedmail', `S", "`cm', `S")},
    "names without a dot are looked up": {"mc": (NOCANONIFY, "FEATURE(`nocanonify', `canonify_hosts')")},
    "others' names are looked up": {"mc": add("CANONIFY_DOMAIN(`other.invalid koeln.invalid')")},
    "no rule asks": {"mc": (FILTER, ""), "toml": ('mode = "report"', 'mode = "off"')},
    "back from a filter": {"mc": add(OTHER, "DAEMON_OPTIONS(`Name=B, Port=2525, Addr=127.0.0.1, InputMailFilters=o')")},
    "users log in": {"mc": add(OTHER, "DAEMON_OPTIONS(`Name=B, Port=587, M=Ea, InputMailFilters=o')")},
    "two filters": {"mc": add(OTHER, "DAEMON_OPTIONS(`Name=B, Port=2525, InputMailFilters=o;closedmail')")},
    "a key for a group": {
        "mc": add("define(`confDONT_BLAME_SENDMAIL', `GroupReadableKeyFile')"),
        "toml": SUBJECT,
        "run": KEY[0],
        "undo": KEY[1],
    },
    "an unsafe folder": {
        "mc": add("define(`confDONT_BLAME_SENDMAIL', `MapInUnsafeDirPath')"),
        "run": f"chmod 775 {MAPS}",
        "undo": f"chmod 755 {MAPS}",
    },
    "a folder with the sticky bit": {"run": f"chmod 1777 {STATE}", "undo": f"chmod 755 {STATE}"},
    "an own domain below a partner": {
        "toml": ('["city.example"]', '["city.example", "own.kreis.example"]'),
        "mc": add("LOCAL_DOMAIN(`own.kreis.example')"),
    },
    "certificates that nobody asks for": {
        "mc": ("_KEY', `/etc/mail/tls/gateway", "_KEY', `/gone"),
        "toml": (
            '["192.0.2.0/24"]',
            '["192.0.2.0/24"]\ncertificates = [{subject = "mx.example"}]',
        ),
    },
    "hosts only": {
        "mc": add("FEATURE(`relay_hosts_only')"),
        "toml": ('[partner."klinik.example"]', '[partner."klinik.city.example"]'),
    },
    "certificates by subject": {"run": "echo 'CertIssuer:/CN=CA\tSUBJECT' >>/etc/mail/access.own"},
    "no sender may relay": {"mc": add("FEATURE(`relay_mail_from')")},
    "TLS as it should be": {"toml": SUBJECT},
    "digests of one kind": {
        "mc": add("define(`confCERT_FINGERPRINT_ALGORITHM', `sha256')"),
        "toml": pinned(f'fingerprint = "{SHA256}"'),
    },
    "no certificate is needed": {"run": "echo 'Srv_Features:10.1.1\tV' >>/etc/mail/access.own"},
}


@pytest.mark.parametrize("name", WELL)
def test_no_fault(well: Patient, name: str) -> None:
    fault = Fault("", "", **WELL[name])
    fault.put(well)
    try:
        assert well.doctor() == []
    finally:
        well.shell(fault.undo)


def test_the_line_for_a_milter_on_tcp(well: Patient) -> None:
    well.machine.write(CONFIG, replaced(well.toml, ("[milter]", '[milter]\nlisten = ["inet:[::1]:8899"]')))
    well.machine.write(SENDMAIL_CF, well.made(well.mc.replace(FILTER, "")))
    silent, missing = well.doctor()
    assert (silent["id"], missing["id"]) == ("milter", "milter-missing")
    assert "S=inet6:8899@::1, F=T" in missing["text"]


def test_beside_postfix_both_are_judged(well: Patient) -> None:
    """There is no Postfix on the machine, which is a finding of its own; a missing sendmail.cf is then none."""
    well.machine.write(CONFIG, f"{well.toml}\n[postfix]\n")
    well.machine.write(SENDMAIL_CF, well.made(well.mc.replace(" F=T,", "")))
    assert [item["id"] for item in well.doctor()] == ["postfix", "milter-flags"]
    well.machine.run("rm", SENDMAIL_CF)
    assert [item["id"] for item in well.doctor()] == ["postfix"]


def test_another_sendmail_cf(well: Patient) -> None:
    """One that is not yet installed is judged, and not whether it is in force."""
    well.machine.write("/tmp/new.cf", well.made(well.mc.replace(" F=T,", "")))
    well.machine.run("touch", "-d", "+1 min", MC)
    status, findings = well.command("--sendmail-cf", "/tmp/new.cf")
    assert (status, [item["id"] for item in findings]) == (1, ["milter-flags"])
    status, findings = well.command("--sendmail-cf", "/tmp/none.cf")
    assert (status, [item["text"][:27] for item in findings]) == (1, ["/tmp/none.cf is not there: "])


def test_setup_applies_and_takes_back(well: Patient) -> None:
    def modes() -> str:
        return well.machine.run("stat", "-c", "%a", STATE, MAPS, "/etc/mail/access.own").stdout

    well.shell(f"chmod 775 {STATE}", f"chmod 700 {MAPS}", "chmod 600 /etc/mail/access.own")
    done = well.machine.closedmail(CONFIG, "setup", "--yes", check=False)
    assert done.returncode == 0, done
    assert "did not do all" not in done.stdout
    assert (modes(), well.doctor()) == ("755\n755\n644\n", [])
    well.machine.closedmail(CONFIG, "setup", "--undo")
    assert modes() == "775\n755\n600\n"  # the maps' folder is their owner's: sync repaired it, which undo leaves
    well.shell(f"chmod 755 {STATE}")


def test_a_link_of_smmta_is_not_followed(well: Patient) -> None:
    """Debian gives /etc/mail to smmta: root keeps to what lies there itself."""
    well.shell(
        "install -m 600 /dev/null /root/secret",
        "setpriv --reuid smmta --regid smmta --clear-groups ln -sf /root/secret /etc/mail/access.own",
    )
    try:
        found = [item for item in well.doctor() if item["id"] == "own-rows"]
        assert found
        assert not any("chmod" in command for item in found for command in item["fix"]), found
        well.machine.closedmail(CONFIG, "setup", "--yes", check=False)
        assert well.machine.run("stat", "-c", "%a", "/root/secret").stdout == "600\n"
    finally:
        well.shell("rm /etc/mail/access.own")


def running(well: Patient, mc: str = "") -> Sendmail:
    """Sendmail itself, with the installed sendmail.cf."""
    return Sendmail(
        well.machine, (mc or well.mc).replace("MAILER(`local')", f"{BENCH}\nMAILER(`local')"), name="sendmail"
    )


def test_a_running_sendmail_has_read_its_files(well: Patient) -> None:
    with running(well) as sendmail:
        assert well.doctor() == []
        well.machine.run("touch", "-d", "+1 min", sendmail.cf)
        (found,) = well.doctor()
        assert (found["id"], found["fix"]) == ("sendmail-stale", [])
        assert "sendmail.cf changed" in found["text"]
    assert well.doctor() == []


def test_sendmail_calls_such_folders_unsafe(well: Patient) -> None:
    """Where doctor says that Sendmail opens no map, and does not start, it does so."""
    sendmail = running(well)
    assert sendmail.lookup("mailertable", "koeln.example") == "esmtp:[198.18.0.11]"
    well.shell(f"chmod 1777 {STATE}")
    assert sendmail.lookup("mailertable", "koeln.example") == "esmtp:[198.18.0.11]"
    well.shell(f"chmod 755 {STATE}")
    for mode in ("775", "700"):
        well.shell(f"chmod {mode} {MAPS}")
        assert sendmail.lookup("mailertable", "koeln.example") is None
        well.shell(f"chmod 755 {MAPS}")
    well.shell("chmod 775 /run/closedmail")
    try:
        ended = well.machine.run("sendmail", "-bD", timeout=15, check=False)  # else it would not end
        assert f"{SOCKET} unsafe: Group writable directory" in ended.stdout
    finally:
        well.shell("chmod 755 /run/closedmail")


@pytest.mark.parametrize(
    ("run", "undo"),
    [
        ("", ""),
        ("mv /etc/mail/tls/closed-ca.pem /x", "mv /x /etc/mail/tls/closed-ca.pem"),
        ("chmod 640 /etc/mail/tls/gateway.key", "chmod 600 /etc/mail/tls/gateway.key"),
        ("chmod 664 /etc/mail/tls/gateway.pem", "chmod 644 /etc/mail/tls/gateway.pem"),
    ],
)
def test_sendmail_offers_starttls_just_where_doctor_is_silent(well: Patient, run: str, undo: str) -> None:
    well.machine.write(CONFIG, replaced(well.toml, SUBJECT))
    try:
        well.shell(run)
        with running(well) as sendmail, sendmail.session() as session:
            offered = "starttls" in session.esmtp_features
        assert offered == (not run)
        assert {item["id"] for item in well.doctor()} - {"outbound-ca"} == ({"starttls"} if run else set())
    finally:
        well.shell(undo)
