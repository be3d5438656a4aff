"""`closedmail setup`: a plain Debian Postfix is wired in, step by step, and all of it is taken back to the byte."""

import json
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from support.daemon import Daemon, closedmail_as, closedmail_inside
from support.patient import Patient, patient
from support.private_postfix import PrivatePostfix
from support.sink import Sink

from closedmail.config import load, parse
from closedmail.demo.ports import free_port
from closedmail.demo.smtp_client import deliver
from closedmail.doctor import fix_command, setup
from closedmail.doctor import undo as undo_steps
from closedmail.doctor.finding import Finding, Fix, Program
from closedmail.doctor.finding_ids import Phase
from closedmail.doctor.fix_command import apply_fix
from closedmail.doctor.setup import Setup, undo_all
from closedmail.doctor.setup_record import SetupRecord
from closedmail.errors import ClosedmailError

pytestmark = pytest.mark.real("root", "postconf", "postmap", "openssl")
NOBODY = 65534
GATEWAY = '[gateway]\nown_domains = ["city.example"]'
PARTNER, OWN = "office@koeln.example", "info@city.example"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Patient]:
    with patient(wired=False) as made:
        table = f"hash:{made.folder}/state/postfix/tls_policy-ndb"
        made.postconf("-M", f"closedmail-ndb/unix=closedmail-ndb unix - - y - - smtp -o smtp_tls_policy_maps={table}")
        made.sync()
        made.postconf("-MX", "closedmail-ndb/unix")
        made.keep()
        yield made


@pytest.fixture
def plain(gateway: Patient) -> Iterator[Patient]:
    """A Debian Postfix beside a closedmail that has a generation in force, and a policyd that answers."""
    gateway.settle()
    yield gateway
    gateway.restore()
    record = record_of(gateway)
    if record.steps:
        record.remove()


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files look old as soon as a command has written them: Postfix's programs wait for two seconds otherwise."""
    real = fix_command.run

    def run(words: list[str], **how: Any) -> None:
        real(words, **how)
        if words[:2] == ["postconf", "-c"]:
            for name in fix_command.FILES:
                os.utime(Path(words[2]) / name, (time.time() - 60,) * 2)

    monkeypatch.setattr(fix_command, "run", run)


def record_of(well: Patient) -> SetupRecord:
    return SetupRecord(Path(load(well.config).gateway.state_dir))


def texts(well: Patient) -> tuple[str, str]:
    return well.main.read_text(), well.master.read_text()


def run(well: Patient, *but: str) -> list[Finding]:
    """All of setup but these, and without its sync."""
    well.settle()
    made = Setup(load(well.config), lambda finding: finding.id not in ("sync", *but), print, unattended=True)
    return made.run()


def undo(well: Patient) -> list[str]:
    said = list(undo_all(Path(load(well.config).gateway.state_dir)))
    well.settle()
    return said


def test_there_and_back(plain: Patient) -> None:
    before = texts(plain)
    assert run(plain) == []
    assert plain.findings() == []
    wired = texts(plain)
    assert wired[0] != before[0]
    assert wired[1].startswith(before[1])
    # What was there is there still, comments included.
    assert [line for line in wired[0].splitlines() if line.startswith("#")] == [
        line for line in before[0].splitlines() if line.startswith("#")
    ]
    said = undo(plain)
    assert said == [
        "Mail to 5 domains will leave as your other settings say: by the Internet, where nothing else routes it.",
        "Held or refused until now, and no longer: closed.example.",
        f"{plain.master}: restored",
        f"{plain.main}: restored",
        "Postfix is not running; it reads the new configuration when it is started.",
    ]
    assert texts(plain) == before
    assert stat.S_IMODE(plain.main.stat().st_mode) == 0o644
    assert undo(plain) == []


class Killed(BaseException):
    """As by a signal that nobody can catch: nothing more of this run happens."""


@pytest.mark.parametrize("done", [False, True])
def test_killed_at_any_step(plain: Patient, monkeypatch: pytest.MonkeyPatch, done: bool) -> None:
    """Before a command changes main.cf or master.cf, or after it has and before that is written down."""
    for module in (setup, undo_steps):  # it does not run, and asking takes two seconds
        monkeypatch.setattr(module, "reload_postfix", lambda _: "")
    before, real, steps = texts(plain), fix_command.run, 0
    for number in range(100):
        left = number

        def killed(words: list[str], **how: object) -> None:
            nonlocal left
            counted = words[:3] == ["postconf", "-c", str(plain.etc)]
            left -= counted
            if counted and left < 0 and not done:
                raise Killed
            real(words)
            if counted and left < 0:
                raise Killed

        monkeypatch.setattr(fix_command, "run", killed)
        try:
            run(plain)
        except Killed:
            steps += 1
            assert record_of(plain).steps
        else:
            break
        finally:
            monkeypatch.setattr(fix_command, "run", real)
            undo(plain)
        assert texts(plain) == before
        assert undo(plain) == []
    assert texts(plain) == before
    assert steps >= 6


def test_killed_undo_is_taken_up_again(plain: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    before = texts(plain)
    run(plain)

    def killed(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SetupRecord, "remove", killed)
        with pytest.raises(Killed):
            undo(plain)
    assert [line for line in undo(plain) if "changed since" in line] == []
    assert texts(plain) == before


def test_what_was_changed_by_hand_stays(plain: Patient) -> None:
    main, master = texts(plain)
    run(plain)
    plain.set("smtpd_data_restrictions = reject_unauth_pipelining", "smtpd_helo_required = yes")
    plain.postconf("-P", "closedmail-ndb/unix/smtp_helo_name=a.example")
    with plain.main.open("a") as file:
        file.write("# a remark\n")
    said = undo(plain)
    assert f"{plain.main}: smtpd_data_restrictions was changed since setup, and is left as it is" in said
    assert f"{plain.master}: closedmail-ndb/unix was changed since setup, and is left as it is" in said
    assert len([line for line in said if "left as it is" in line]) == 2
    added = "smtpd_data_restrictions = reject_unauth_pipelining\nsmtpd_helo_required = yes\n# a remark\n"
    assert plain.main.read_text() == main + added
    assert plain.master.read_text().startswith(master)
    assert "-o smtp_helo_name=a.example" in plain.master.read_text()
    assert "-o smtp_fallback_relay=" in plain.master.read_text()


def test_other_settings_of_the_same_listener_stay(plain: Patient) -> None:
    with plain.master.open("a") as file:
        file.write("submission inet n - y - - smtpd\n  -o smtpd_sender_restrictions=\n")
    run(plain)
    assert plain.findings() == []
    plain.postconf("-P", "submission/inet/smtpd_helo_required=yes")
    assert [line for line in undo(plain) if "left as it is" in line] == []
    options = plain.postfix("postconf", "-c", str(plain.etc), "-P").splitlines()
    assert [line for line in options if line.startswith("submission")] == [
        "submission/inet/smtpd_helo_required = yes",
        "submission/inet/smtpd_sender_restrictions =",
    ]


def test_several_runs_are_taken_back_together(plain: Patient) -> None:
    main, master = texts(plain)
    assert [item.id for item in run(plain, "data-restrictions")] == ["data-restrictions"]
    plain.set("mail_name = Mine")
    run(plain)
    assert plain.findings() == []
    undo(plain)
    assert texts(plain) == (f"{main}mail_name = Mine\n", master)


def test_a_folder_is_as_it_was(plain: Patient) -> None:
    run(plain)
    folder = plain.folder / "state" / "postfix"
    folder.chmod(0o700)
    run(plain)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert f"{folder}: mode 0700 again" in undo(plain)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)


def test_a_record_of_an_earlier_version(plain: Patient) -> None:
    """Its commands are shell lines; undo goes by what they changed."""
    main, folder = plain.main.read_text(), plain.folder / "state" / "postfix"
    after, mode = f"{main}mail_name = Mine\n", stat.S_IMODE(folder.stat().st_mode)
    steps = [
        {
            "finding": "sender-restrictions",
            "command": "postconf -e 'mail_name = Mine'",
            "files": {str(plain.main): [main, after]},
            "modes": {},
            "units": {},
        },
        {
            "finding": "map-access",
            "command": f"chmod 0711 {folder}",
            "files": {},
            "modes": {str(folder): [mode, 0o711]},
            "units": {},
        },
    ]
    record = record_of(plain).path
    record.parent.mkdir(mode=0o700)
    record.write_text(json.dumps(steps))
    plain.main.write_text(after)
    folder.chmod(0o711)
    assert f"{folder}: mode {mode:04o} again" in undo(plain)
    assert plain.main.read_text() == main
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert not record.exists()


@pytest.mark.parametrize(
    "broken",
    [None, "", "[gateway]\nown_domains = [\n", '[gateway]\nstate_dir = "{state}"\nnothing_known = 1\n[', "\udcff\n"],
    ids=["missing", "empty", "unfinished", "errors", "not UTF-8"],
)
def test_undo_needs_no_configuration(plain: Patient, broken: str | None) -> None:
    """And every byte is as it was: the ends of lines of DOS, of Unicode, and what is no UTF-8."""
    odd = b"# a\r\n# b\xe2\x80\xa8c\xc2\x85 \xff\x0b\n"
    plain.main.write_bytes(odd + plain.main.read_bytes())
    before = plain.main.read_bytes(), plain.master.read_bytes()
    kept = plain.config.read_bytes()
    run(plain)
    state = plain.folder / "state"
    record = record_of(plain).path
    assert record.exists()
    if broken is None:
        plain.config.unlink()
    else:
        plain.config.write_bytes(broken.replace("{state}", str(state)).encode("utf-8", "surrogateescape"))
    usual = Path("/var/lib/closedmail-setup")
    if "state_dir" not in (broken or ""):
        assert not usual.exists()
        lost = closedmail_inside("setup", "--undo", config=plain.config)
        assert (lost.status, "state_dir is not known" in lost.stderr) == (1, True), lost
        record.parent.rename(usual)  # where the file that is gone did not say otherwise
    done = closedmail_inside("setup", "--undo", config=plain.config)
    plain.config.write_bytes(kept)
    assert (done.status, done.stderr) == (0, "")
    assert (plain.main.read_bytes(), plain.master.read_bytes()) == before
    assert not record.exists()
    assert not usual.exists()


def test_what_an_administrator_must_decide_is_left(plain: Patient) -> None:
    plain.set("relay_domains = koeln.example")
    (finding,) = run(plain)
    assert (finding.id, bool(finding.fix)) == ("partner-relayed", True)
    # Who is asked may say yes.
    assert Setup(load(plain.config), lambda item: item.id != "sync", print, unattended=False).run() == []
    assert plain.postfix("postconf", "-c", str(plain.etc), "-h", "relay_domains") == "\n"


def test_nothing_is_done_that_is_declined(plain: Patient) -> None:
    before = texts(plain)
    asked: list[str] = []

    def decline(finding: Finding) -> bool:
        asked.append(finding.id)
        return False

    left = Setup(load(plain.config), decline, print, unattended=False).run()
    assert texts(plain) == before
    assert asked[:2] == ["transport-missing", "sync"]
    assert len(asked) == len(set(asked))
    assert [item.id for item in left] == [name for name in asked if name != "sync"]
    phases = [item.phase for item in left]
    assert phases == sorted(phases)
    assert {Phase.PUBLISH, Phase.CONFIGURE, Phase.CONNECT} <= set(phases)


def test_the_first_command_that_fails_ends_it(plain: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    before = texts(plain)
    good, bad = (Fix.postconf(str(plain.etc), "-e", item) for item in ("mail_name = A", "no value"))
    findings = [
        Finding("one", Phase.CONFIGURE, "error", "", (good, bad, good)),
        Finding("two", Phase.CONFIGURE, "error", "", (good,)),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(setup, "find_findings", lambda *_: findings)
        with pytest.raises(
            ClosedmailError, match=f"nothing more was done; .* run: closedmail --config {plain.config} setup --undo$"
        ):
            run(plain)
    assert "mail_name = A\n" in plain.main.read_text()
    undo(plain)
    assert texts(plain) == before


@pytest.mark.parametrize(
    ("fix", "shown"),
    [
        (Fix.postconf("/etc/postfix", "-e", "a = b c"), "postconf -e 'a = b c'"),
        (Fix.postconf("/srv/my postfix", "-MX", "a/unix"), "postconf -c '/srv/my postfix' -MX a/unix"),
        (Fix.chmod("o+x", "/srv/a folder"), "chmod o+x '/srv/a folder'"),
        (Fix.chgrp("a group", "/srv/a folder"), "chgrp 'a group' '/srv/a folder'"),
        (Fix.start("a.timer"), "systemctl enable --now a.timer"),
        (Fix.restart("a.service"), "systemctl restart a.service"),
        (Fix.closedmail(parse(GATEWAY, "/etc/closedmail/closedmail.toml"), "sync"), "closedmail sync"),
        (Fix.closedmail(parse(GATEWAY, "/srv/$x.toml"), "sync"), "closedmail --config '/srv/$x.toml' sync"),
    ],
)
def test_only_commands_that_doctor_proposes_are_run(fix: Fix, shown: str) -> None:
    """A fix begins with one of six programs, whatever its arguments; no shell reads it, so what is shown is quoted."""
    assert str(fix) == shown
    assert tuple(shlex.split(shown)) == fix.argv
    units = {("systemctl", "enable", "--now"), ("systemctl", "restart")}
    begins = {("postconf",), ("chmod",), ("chgrp",), ("closedmail",), *units}
    assert {program.value for program in Program} == begins
    assert fix.argv[: len(fix.program.value)] in begins


def test_nobody_else_may_write_the_record(plain: Patient) -> None:
    run(plain)
    folder = record_of(plain).path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for owner, mode in ((0, 0o777), (NOBODY, 0o700)):
        os.chown(folder, owner, -1)
        folder.chmod(mode)
        done = closedmail_inside("setup", "--undo", config=plain.config)
        os.chown(folder, 0, -1)
        folder.chmod(0o700)
        assert done.status == 1
        assert "others may write it" in done.error
    undo(plain)


# systemd's units, by a systemctl that knows what was asked of it.


@pytest.mark.parametrize(
    ("active", "enabled", "undone"),
    [(0, 0, ""), (1, 1, "disable --now a.timer"), (1, 0, "stop a.timer"), (0, 1, "disable a.timer")],
)
def test_units_are_as_they_were(
    plain: Patient, monkeypatch: pytest.MonkeyPatch, active: int, enabled: int, undone: str
) -> None:
    programs, log = plain.folder / "bin", plain.folder / "log"
    programs.mkdir(exist_ok=True)
    program = programs / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{log}\ncase $1 in is-active) exit {active};; is-enabled) exit {enabled};; esac\n'
    )
    program.chmod(0o755)
    log.write_text("")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    apply_fix(Fix.start("a.timer"), "timer", str(plain.etc), record_of(plain))
    asked = ["is-active --quiet a.timer", "is-enabled --quiet a.timer", "enable --now a.timer"]
    assert log.read_text().splitlines() == asked
    undo(plain)
    assert log.read_text().splitlines()[3:] == [undone] * bool(undone)


# The command


def test_who_may_call_it_and_how(plain: Patient) -> None:
    before = texts(plain)
    done = closedmail_inside("setup", config=plain.config)
    assert done.status == 2
    assert done.error == "setup asks before each step, and there is no terminal: add --yes, or see doctor"
    done = closedmail_as(NOBODY, "setup", "--yes", config=plain.config)
    assert done.status == 2
    assert done.error == "setup changes the mail server's configuration: run it as root"
    assert texts(plain) == before


def test_nothing_is_wired_in_that_does_not_answer() -> None:
    with patient(wired=False, daemon=False) as fresh:
        main = fresh.main.read_text()
        done = closedmail_inside("setup", "--yes", config=fresh.config)
        assert done.status == 1
        assert "The mail server does not ask closedmail yet" in done.stdout
        assert "policyd does not answer" in done.stdout
        # Only what harms nobody.
        added = fresh.main.read_text().removeprefix(main)
        assert "closedmail_check" not in added
        assert "transport_maps" not in added
        with Daemon(fresh.config):
            done = closedmail_inside("setup", "--yes", config=fresh.config)
            assert (done.status, done.stdout.splitlines()[-1]) == (0, "Nothing is wrong.")
        assert closedmail_inside("setup", "--undo", config=fresh.config).status == 0
        assert fresh.main.read_text() == main


CONFIG = """\
[gateway]
state_dir = "{folder}/state"
own_domains = ["city.example"]
[postfix]
map_dir = "{folder}/state/postfix"
config_directory = "{folder}/postfix/etc"
[policyd]
listen = ["unix:{folder}/postfix/queue/closedmail/policy.sock"]
socket_group = "postfix"
[network.ndb]
source = "{folder}/list"
signature = "none"
outbound = {{ tls = "encrypt" }}
inbound = {{ mode = "enforce", allow_from = ["127.0.0.10"] }}
"""


@pytest.mark.real("postfix")
def test_a_running_postfix() -> None:
    """One evening: a gateway that runs, `setup --yes`, and partners' mail is refused or accepted; and back."""
    with TemporaryDirectory(prefix="closedmail-", dir="/tmp") as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        config = folder / "closedmail.toml"
        config.write_text(CONFIG.format(folder=folder))
        (folder / "list").write_text("koeln.example\tesmtp:[192.0.2.1]\n")
        postfix = PrivatePostfix(
            folder / "postfix",
            {"smtpd_sender_restrictions": "permit_mynetworks, reject_non_fqdn_sender"},
            services=[f"127.0.0.1:{port} inet n - y - - smtpd"],
            listeners=(),
        )

        def send(client: str, recipient: str = OWN) -> int:
            return deliver("127.0.0.1", port, sender=PARTNER, recipients=[recipient], source_address=client).code

        def soon(client: str, code: int) -> bool:
            """Whether a mail gets that answer, in the end: an smtpd of before a reload may take one more client."""
            deadline = time.monotonic() + 30
            while (found := send(client)) != code and time.monotonic() < deadline:
                time.sleep(0.1)
            return found == code

        with postfix, Daemon(config):
            before = [(postfix.etc / name).read_text() for name in ("main.cf", "master.cf")]
            assert send("127.0.0.66") == 250
            done = closedmail_inside("setup", "--yes", config=config)
            assert (done.status, done.stderr) == (0, ""), done
            assert done.stdout.endswith(
                "Postfix was reloaded and has read the new configuration.\n"
                f"To undo what setup did, run: closedmail --config {config} setup --undo\nNothing is wrong.\n"
            )
            postfix.wait_for_log("reload -- version")
            assert soon("127.0.0.66", 554)
            assert (send("127.0.0.66"), send("127.0.0.10")) == (554, 250)
            assert (send("127.0.0.66", "postmaster"), send("127.0.0.10", "postmaster")) == (554, 250)
            done = closedmail_inside("setup", "--undo", config=config)
            assert done.status == 0
            assert [(postfix.etc / name).read_text() for name in ("main.cf", "master.cf")] == before
            postfix.wait_for_log("(?s)reload -- version.*reload -- version")
            assert soon("127.0.0.66", 250)
            assert "fatal" not in postfix.log()


@pytest.mark.real("postfix")
@pytest.mark.parametrize("release", [False, True], ids=["held", "released"])
def test_undo_with_partners_mail_in_the_queue(release: bool) -> None:
    """Two routes are down, and one domain is held. Undone and tried again, none of that reaches the public MX."""
    with TemporaryDirectory(prefix="closedmail-", dir="/tmp") as name, Sink("127.0.0.1") as public:
        folder = Path(name)
        folder.chmod(0o755)
        config = folder / "closedmail.toml"
        config.write_text(CONFIG.format(folder=folder))
        (folder / "list").write_text(
            f"koeln.example\tesmtp:[198.18.9.9]:{free_port()}\n.land.example\tesmtp:[198.18.9.9]\n"
        )
        # Whatever has no row goes to the public MX.
        public_mx = {"relayhost": f"[127.0.0.1]:{public.port}", "mydestination": "", "local_recipient_maps": ""}
        postfix = PrivatePostfix(folder / "postfix", {**public_mx, "default_transport": "smtp"}, listeners=())
        with postfix, Daemon(config):
            done = closedmail_inside("setup", "--yes", config=config)
            assert "Postfix was reloaded" in done.stdout, done
            postfix.wait_for_log("reload -- version")
            # Nothing is tried before the undo.
            postfix.postconf("-e", "defer_transports = ndb")
            postfix.reload()
            waits = ["office@KOELN.example", "a+b@amt.land.example"]
            for recipient in waits:
                postfix.submit("info@city.example", [recipient])
            postfix.submit("info@city.example", ["x@elsewhere.example", "y@koeln.example"])
            assert [mail.recipients for mail in public.wait(1)] == [("x@elsewhere.example",)]
            deadline = time.monotonic() + 20
            while [item.queue_name for item in postfix.queue()] != ["deferred"] * 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            postfix.postconf("-X", "defer_transports")
            arguments = ["--release-queue"] if release else []
            done = closedmail_inside("setup", "--undo", *arguments, config=config)
            assert (done.status, done.stderr) == (0, "")
            assert "transport_maps" not in (postfix.etc / "main.cf").read_text()
            assert "Mail to 2 domains will leave as your other settings say" in done.stdout
            assert done.stdout.count(" waits for ") == 3
            assert done.stdout.index(" waits for ") < done.stdout.index(": restored")
            for recipient in waits:
                assert f" waits for {recipient}: {'it will leave' if release else 'put on hold'}" in done.stdout
            postfix.flush()
            postfix.submit("info@city.example", ["z@elsewhere.example"])
            if release:
                public.wait(5)
                return
            assert [mail.recipients[0] for mail in public.wait(2)] == ["x@elsewhere.example", "z@elsewhere.example"]
            assert [item.queue_name for item in postfix.queue()] == ["hold"] * 3
            # What the sentence proposes sends it.
            (command,) = re.findall(r"office@KOELN\.example: put on hold; to send it, run: (.*)", done.stdout)
            postfix.run(*shlex.split(command))
            postfix.flush()
            assert public.wait(3)[2].recipients == (waits[0],)
