"""The Debian package: built, judged by lintian, and installed, upgraded, removed and purged on Debian 12 and 13."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machines.deb import NEEDS, SUITES, Shell, build, deb_machine, install, renumbered
from support.machines.docker import run
from support.machines.tree import CHECKOUT, Machine
from support.markdown import dead_links
from support.real import require

from closedmail import __version__
from closedmail.config import parse
from closedmail.errors import NothingSet

pytestmark = pytest.mark.real(*NEEDS)

CONFIG = "etc/closedmail/closedmail.toml"
SHIPPED = CHECKOUT / "debian" / "closedmail.toml"
UNITS = sorted((CHECKOUT / "postfix-examples" / "systemd").glob("closedmail-*"))
ENABLED = {
    "sockets.target.wants/closedmail-policyd.socket",
    "postfix.service.wants/closedmail-policyd.socket",
    "timers.target.wants/closedmail-sync.timer",
}


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(*NEEDS)
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def parts(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files, and its control files in DEBIAN."""
    folder = tmp_path_factory.mktemp("parts") / "parts"
    run(["dpkg-deb", "--raw-extract", deb, folder])
    return folder


@pytest.fixture(scope="module", params=SUITES)
def machine(request: pytest.FixtureRequest, deb: Path) -> Iterator[Machine]:
    """A machine with the package on it."""
    with deb_machine(request.param) as machine:
        install(machine, deb)
        yield machine


def checked_out(folder: Path) -> Path:
    """What is under version control, elsewhere."""
    git = subprocess.run(
        ["git", "-C", CHECKOUT, "-c", f"safe.directory={CHECKOUT}", "ls-files", "-z"],  # noqa: S607
        capture_output=True,
        check=True,
    )
    pack: list[str | Path] = ["tar", "-C", CHECKOUT, "--null", "--files-from=-", "-cf", folder / "files.tar"]
    subprocess.run(pack, input=git.stdout, check=True)
    (folder / "copy").mkdir()
    run(["tar", "-C", folder / "copy", "-xf", folder / "files.tar"])
    return folder / "copy"


@pytest.mark.real("git")
def test_every_build_of_a_checkout_is_the_same_and_leaves_it_clean(deb: Path, tmp_path: Path) -> None:
    copy = checked_out(tmp_path)
    before = sorted(path for path in copy.rglob("*"))
    os.utime(copy / "postfix-examples" / "ways-in", (1_000_000_000, 1_000_000_000))  # checked out long ago
    again = build(tmp_path / "dist", copy, umask="077")
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(deb.read_bytes()).digest()
    assert sorted(path for path in copy.rglob("*")) == before

    # A version that is not that of the changelog is no package.
    (copy / "closedmail" / "__init__.py").write_text('__version__ = "99.0"\n')
    done = run([copy / "scripts" / "build-deb", "--output", tmp_path / "none"], check=False)
    assert (done.returncode, (tmp_path / "none").exists()) == (1, False)
    assert f"debian/changelog is for {__version__}, and closedmail.__version__ says 99.0" in done.stderr


@pytest.mark.real("lintian")
def test_lintian_has_nothing_to_say(deb: Path) -> None:
    done = run(["lintian", "--allow-root", "--fail-on", "error,warning", deb], timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.real("lintian", "piuparts", "autopkgtest")
def test_piuparts_and_autopkgtest_pass() -> None:
    done = run([CHECKOUT / "scripts" / "check-deb", "--suite", "bookworm"], timeout=900)
    assert re.findall(r"^(\w+) +PASS$", done.stdout, re.MULTILINE)[:3] == ["fresh", "demo", "gateway"]
    assert "check-deb: piuparts on bookworm: passed" in done.stderr


def test_what_is_in_it(parts: Path) -> None:
    fields = dict(
        line.split(": ", 1) for line in (parts / "DEBIAN" / "control").read_text().splitlines() if line[0] != " "
    )
    assert (fields["Version"], fields["Architecture"]) == (__version__, "all")
    depended = {word.split()[0] for word in re.split(r"[,|] *", fields["Depends"])}
    assert {"python3-click", "python3-gnupg", "python3-idna", "python3-lmdb", "procps"} <= depended
    # Debian 12 has 3.3 with the fix of 3.7, which pip has to be asked for.
    assert re.findall(r"python3-idna[^,]*", fields["Depends"]) == ["python3-idna (>= 3.3)"]
    (metadata,) = (parts / "usr/lib/python3/dist-packages").glob("closedmail-*.dist-info/METADATA")
    assert re.findall(r"^Requires-Dist: (idna.*)$", metadata.read_text(), re.MULTILINE) == ["idna>=3.3"]
    assert "    idna >= 3.7\n" in (CHECKOUT / "setup.cfg").read_text()
    assert (parts / "DEBIAN" / "conffiles").read_text() == f"/{CONFIG}\n"

    files = {str(path.relative_to(parts)) for path in parts.rglob("*") if path.is_file()}
    places = ("DEBIAN/", "usr/lib/python3/dist-packages/closedmail", "usr/share/doc/closedmail/", "usr/share/man/")
    assert {file for file in files if not file.startswith(places)} == {
        CONFIG,
        "usr/bin/closedmail",
        "usr/lib/sysusers.d/closedmail.conf",
        "usr/share/bash-completion/completions/closedmail",
        "usr/share/zsh/vendor-completions/_closedmail",
        *(f"usr/lib/systemd/system/{unit.name}" for unit in UNITS),
    }
    for unit in UNITS:
        assert (parts / "usr/lib/systemd/system" / unit.name).read_bytes() == unit.read_bytes()
    library = parts / "usr/lib/python3/dist-packages/closedmail"
    modules = sorted(path.relative_to(library) for path in library.rglob("*.py"))
    source = CHECKOUT / "closedmail"
    assert modules == sorted(path.relative_to(source) for path in source.rglob("*.py"))
    assert (library / "data/public_suffix_list.dat").exists()
    documents = parts / "usr/share/doc/closedmail"
    for name in ("CHANGELOG.md", "examples/netz-des-bundes/main.cf", "copyright"):
        assert (documents / name).exists()
    assert "License: MPL-2.0" in (documents / "copyright").read_text()
    modes = {oct(path.stat().st_mode & 0o7777) for path in parts.rglob("*") if path.is_file()}
    assert modes == {"0o644", "0o755"}


def test_its_pages_are_those_of_the_checkout_and_their_links_work(parts: Path) -> None:
    """Every page is there under the name that the README links, as it is: none compressed, none changed."""
    documents = parts / "usr/share/doc/closedmail"
    names = {"README.md", "README.de.md", *(str(path.relative_to(CHECKOUT)) for path in CHECKOUT.glob("docs/*.md"))}
    for name in names:
        assert (documents / name).read_bytes() == (CHECKOUT / name).read_bytes()
    pages = [path for path in documents.rglob("*.md") if path.is_file()]
    assert len(pages) > len(names)
    assert {str(page.relative_to(documents)): dead_links(page) for page in pages if dead_links(page)} == {}


def test_the_configuration_says_nothing_and_each_of_its_lines_can_be_made_to_count() -> None:
    text = SHIPPED.read_text()
    with pytest.raises(NothingSet):
        parse(text)
    # Prose has a blank behind the #.
    config = parse(re.sub(r"^#(?=[^\s#])", "", text, flags=re.MULTILINE))
    assert config.gateway.own_domains == ("city.example",)
    assert [(network.name, network.inbound.mode, network.outbound.tls) for network in config.networks] == [
        ("ndb", "report", "encrypt")
    ]
    assert [partner.key for partner in config.partners] == ["clinic.example"]
    assert config.postfix is not None
    assert config.sendmail is not None


def test_what_is_installed(machine: Machine) -> None:
    assert machine.run("closedmail", "--version").stdout == f"closedmail, version {__version__}\n"
    user = machine.run("getent", "passwd", "closedmail").stdout.strip().split(":")
    assert user[5:] == ["/var/lib/closedmail", "/usr/sbin/nologin"]
    assert machine.run("stat", "-c", "%U:%G %a", "/var/lib/closedmail").stdout.strip() == "closedmail:closedmail 755"
    assert enabled(machine) == ENABLED
    config = machine.root / CONFIG
    assert (config.read_bytes(), config.stat().st_mode & 0o777) == (SHIPPED.read_bytes(), 0o644)

    for command in ("sync", "status", "policyd", "milter"):
        done = machine.run("closedmail", command, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(f"closedmail: error: /{CONFIG}: nothing is set in it yet; .*\n", done.stderr)
    machine.write("/srv/list", "koeln.example esmtp:[192.0.2.1]\n")
    assert machine.run("closedmail", "lint", "/srv/list").stdout == "1 line, 1 domain, 0 lines skipped\n"
    assert "Every mail got the expected answer" in machine.run("closedmail", "demo", timeout=120).stdout


def test_its_timer_does_nothing_as_long_as_nothing_is_filled_in(machine: Machine) -> None:
    """The unit's own condition: 1 is "skipped", not "failed"."""
    unit = (machine.root / "usr/lib/systemd/system/closedmail-sync.service").read_text()
    (condition,) = re.findall(r"^ExecCondition=/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    config = machine.root / CONFIG
    for text, status in ((SHIPPED.read_text(), 1), (" \n\t# x\n", 1), ("# x\n  [gateway]\n", 0), (None, 0)):
        config.unlink()
        if text is not None:
            config.write_text(text)
        assert machine.run("sh", "-c", condition, check=False).returncode == status
        config.write_bytes(SHIPPED.read_bytes())


COMPLETIONS = [
    ("closedmail hist", "ory", "<closedmail><history>"),
    ("closedmail --conf", "ig", "<closedmail><--config>"),
    ("closedmail sync --dr", "y-run", "<closedmail><sync><--dry-run>"),
    ("closedmail export postf", "ix-native", "<closedmail><export><postfix-native>"),
    ("closedmail lint /etc/debian_ver", "sion", "<closedmail><lint></etc/debian_version>"),
    ("closedmail --config /etc/debian_ver", "sion", "<closedmail><--config></etc/debian_version>"),
]


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        (("bash", "--norc", "-i"), ". /usr/share/bash-completion/bash_completion"),
        (("zsh", "-f", "-i"), "bindkey -e; autoload -Uz compinit; compinit -u -D"),
    ],
    ids=["bash", "zsh"],
)
def test_completion(machine: Machine, words: tuple[str, ...], begin: str) -> None:
    shell = Shell(machine, *words)
    try:
        shell.type(f"PS1='$ '; {begin}; echo is-r''eady\n", "is-ready")
        for typed, completed, meant in COMPLETIONS:
            shell.type(f"{typed}\t", completed)
            # To the beginning of the line: what it has become is printed.
            shell.type("\x01printf '<%s>' \n", meant)
    finally:
        shell.close()


def enabled(machine: Machine) -> set[str]:
    folder = machine.root / "etc/systemd/system"
    return {str(path.relative_to(folder)) for path in folder.rglob("closedmail*")}


def everything(machine: Machine) -> set[str]:
    """Every path there, but for what dpkg keeps of packages and logs."""
    found = machine.run("find", "/", "-xdev", "-path", "/proc", "-prune", "-o", "-print").stdout.splitlines()
    ignored = ("/var/lib/dpkg/", "/var/log/", "/tmp/", "/opt/closedmail", "/var/cache/ldconfig")
    return {path for path in found if not path.startswith(ignored)}


@pytest.mark.parametrize("suite", SUITES)
def test_from_the_first_installation_to_the_last_purge(deb: Path, suite: str, tmp_path: Path) -> None:
    with deb_machine(suite) as machine:
        before = everything(machine)
        main_cf = "check_policy_service = unix:closedmail/policy.sock\n"
        machine.write("/etc/postfix/main.cf", main_cf)
        install(machine, renumbered(deb, f"{__version__}~previous", tmp_path))

        # An administrator was here: own configuration, a key, no timer; and the units ran.
        machine.write(
            f"/{CONFIG}",
            '[gateway]\nown_domains = ["city.example"]\n[postfix]\n[network.ndb]\nsource = "/etc/closedmail/list"\n'
            'signature = "none"\noutbound = { tls = "encrypt", transport = "smtp" }\n'
            'inbound = { mode = "enforce", allow_from = ["192.0.2.0/24"] }\n',
        )
        config = (machine.root / CONFIG).read_bytes()
        machine.write("/etc/closedmail/list", "koeln.example esmtp:[192.0.2.1]\n")
        machine.run("systemctl", "disable", "closedmail-sync.timer")
        machine.run("systemctl", "enable", "closedmail-milter.service")
        wanted = (ENABLED - {"timers.target.wants/closedmail-sync.timer"}) | {
            "multi-user.target.wants/closedmail-milter.service"
        }
        assert enabled(machine) == wanted
        machine.run("setpriv", "--reuid=closedmail", "--regid=closedmail", "--init-groups", "closedmail", "sync")
        machine.run("install", "-d", "-o", "closedmail", "-g", "postfix", "/var/spool/postfix/closedmail")
        machine.write("/var/spool/postfix/closedmail/policy.sock", "")
        machine.write("/var/lib/closedmail-setup/steps.json", "[]")
        generation = machine.run("closedmail", "history", "--json").stdout

        install(machine, deb)
        assert version(machine) == ("install ok installed", __version__)
        assert (machine.root / CONFIG).read_bytes() == config
        assert machine.run("closedmail", "history", "--json").stdout == generation
        assert enabled(machine) == wanted

        said = machine.run("dpkg", "--remove", "closedmail").stderr
        assert "the mail server's configuration still names closedmail" in said
        assert "run: closedmail setup --undo" in said
        assert version(machine)[0] == "deinstall ok config-files"
        assert not (machine.root / "usr/bin/closedmail").exists()
        assert not (machine.root / "usr/lib/python3/dist-packages/closedmail").exists()
        assert (machine.root / CONFIG).read_bytes() == config
        assert any((machine.root / "var/lib/closedmail").iterdir())

        # What was removed comes back as it was.
        install(machine, deb)
        assert machine.run("closedmail", "history", "--json").stdout == generation
        assert enabled(machine) == wanted

        machine.run("dpkg", "--purge", "closedmail")
        # The file is the administrator's own.
        assert everything(machine) - before == {"/etc/closedmail", "/etc/closedmail/list"}
        assert before - everything(machine) == set()
        assert (machine.root / "etc/postfix/main.cf").read_text() == main_cf
        assert machine.run("getent", "passwd", "closedmail").returncode == 0


def version(machine: Machine) -> tuple[str, str]:
    status, _, number = machine.run(
        "dpkg-query", "--show", "--showformat", "${Status}|${Version}", "closedmail"
    ).stdout.partition("|")
    return status, number
