"""`closedmail export`: targets, where they are written, and what is left alone."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemon import closedmail, closedmail_inside
from support.gateway import LIST, Gateway, make_gateway
from support.keys import Signer, gpg

from closedmail.exports.targets import TARGETS

GUARDED = (
    'signature = "none"\nsource = "{list}"\nclosed_domains = ["kim.example"]\n'
    '[network.ndb.dns]\nservers = ["192.0.2.53"]'
)
ALLOWED = 'allow_from = ["192.0.2.1"]'
ONE_FILE = [name for name, target in TARGETS.items() if not target.folder]
NEEDED = {"exchange-online": ["--relay", "relay.city.example"]}
SEVERAL = [name for name, target in TARGETS.items() if target.folder]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return make_gateway(tmp_path_factory.mktemp("export"), network=GUARDED)


def identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is written: inode and size, and when."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@pytest.mark.parametrize("name", ONE_FILE)
def test_standard_output_is_what_is_written(gateway: Gateway, tmp_path: Path, name: str) -> None:
    said = closedmail("export", name, *NEEDED.get(name, []), config=gateway.config)
    assert (said.status, said.stderr) == (0, "")
    place = tmp_path / "export"
    written = closedmail("export", name, *NEEDED.get(name, []), "--output", place, config=gateway.config)
    assert (written.status, written.stdout, written.stderr) == (0, "", "")
    assert place.read_bytes().decode() == said.stdout
    assert place.stat().st_mode & 0o777 == 0o644
    assert "koeln.example" in said.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


@pytest.mark.parametrize("name", TARGETS)
def test_what_says_the_same_is_left_alone(gateway: Gateway, tmp_path: Path, name: str) -> None:
    place = tmp_path / "export"
    arguments = ["--verbose", "export", name, *NEEDED.get(name, []), "--output", str(place)]
    first = closedmail_inside(*arguments, config=gateway.config)
    paths = sorted(place.iterdir()) if place.is_dir() else [place]
    assert (first.status, first.stderr) == (
        0,
        f"closedmail: {len(paths)} changed: {first.stderr.split('changed: ')[1]}",
    )
    before = [identity(path) for path in paths]
    again = closedmail_inside(*arguments, config=gateway.config)
    assert (again.status, again.stderr) == (0, "closedmail: 0 changed: none\n")
    assert [identity(path) for path in paths] == before
    paths[0].write_text("something else\n")
    closedmail_inside(*arguments, config=gateway.config)
    inode, size, *_ = identity(paths[0])
    assert (inode != before[0][0], size) == (True, before[0][1])


def test_an_unknown_target(gateway: Gateway) -> None:
    said = closedmail_inside("export", "nope", config=gateway.config)
    assert (said.status, said.error) == (2, f"unknown target 'nope'; there are: {', '.join(TARGETS)}")


HEX = "no fingerprint of 40 hex digits; see gpg --list-secret-keys"
PLACES = "goes into configuration files, write it with letters, digits, / . _ - only"
ONLINE = ["exchange-online", "--relay", "r.example"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "Missing argument 'TARGET'."),
        (["csv", "json"], "Got unexpected extra argument (json)"),
        (["csv", "--form", "forward"], "csv has no form 'forward': only DNS targets forward"),
        (["csv", "--form", "other"], "Invalid value for '--form': 'other' is not one of 'mx', 'forward'."),
        (["csv", "--sign", "AB" * 20], "only a mailertable can be signed, csv can't"),
        (["mailertable", "--sign", "joe@example.org"], f"--sign: 'joe@example.org' is {HEX}"),
        (["mailertable", "--sign", "AB" * 19 + "A"], f"--sign: '{'AB' * 19}A' is {HEX}"),
        (["mailertable", "--sign", "AB" * 19 + "AG"], f"--sign: '{'AB' * 19}AG' is {HEX}"),
        (["mailertable", "--sign"], "Option '--sign' requires an argument."),
        *(([name], f"{name} is several files: name a folder for them with --output") for name in SEVERAL),
        *(([name, "--output", "/tmp/no blanks"], f"--output: '/tmp/no blanks' {PLACES}") for name in SEVERAL),
        (["unbound", "--output", "/tmp/x$(id)"], f"--output: '/tmp/x$(id)' {PLACES}"),
        (["bind", "--output", '/tmp/"; };'], f"--output: '/tmp/\"; }};' {PLACES}"),
        (["csv", "--limit", "10"], "csv has no option --limit"),
        (["exchange-onprem", "--limit", "0"], "--limit: 0 is not between 1 and 1200"),
        (["exchange-onprem", "--limit", "1201"], "--limit: 1201 is not between 1 and 1200"),
        (["exchange-onprem", "--limit", "x"], "Invalid value for '--limit': 'x' is not a valid integer."),
        (["exchange-onprem", "--relay", "relay.city.example"], "exchange-onprem has no option --relay"),
        (["exchange-online"], "exchange-online needs --relay"),
        (["exchange-online", "--relay", ""], "--relay: '' is no host name"),
        (["exchange-online", "--relay", "relay"], "--relay: 'relay' is no host name"),
        (["exchange-online", "--relay", "r.example:25"], "--relay: 'r.example:25' is no host name"),
        (["exchange-online", "--relay", "r.example'; evil"], '--relay: "r.example\'; evil" is no host name'),
        ([*ONLINE, "--limit", "1269"], "--limit: 1269 is not between 1 and 1268"),
        ([*ONLINE, "--tls-name", "*"], "--tls-name: '*' is no host name"),
        ([*ONLINE, "--inbound-from", "192.0.2.1/24"], "--inbound-from: 192.0.2.1/24 has host bits set"),
        ([*ONLINE, "--domain-secure"], "exchange-online has no option --domain-secure"),
    ],
    ids=repr,
)
def test_usage_errors(gateway: Gateway, arguments: list[str], error: str) -> None:
    said = closedmail_inside("export", *arguments, config=gateway.config)
    assert (said.status, said.error) == (2, error)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--relay", "192.0.2.1"], "say it with --tls-name"),
        (["--relay", "a.example", "--relay", "b.example"], "say it with --tls-name"),
        (["--relay", "a.example", "--inbound-from", "10.0.0.0/8"], "10.0.0.0/8 would be 65536 ranges of /24"),
    ],
)
def test_what_exchange_online_cannot_take(gateway: Gateway, tmp_path: Path, arguments: list[str], said: str) -> None:
    """One line that says what to do, and nothing is written."""
    place = tmp_path / "closedmail.ps1"
    made = closedmail_inside("export", "exchange-online", *arguments, "--output", str(place), config=gateway.config)
    assert made.status == 1
    assert said in made.error
    assert not place.exists()


def test_options_reach_the_script(gateway: Gateway) -> None:
    arguments = ["--relay", "A.city.example", "--relay", "192.0.2.1", "--tls-name", "*.City.example", "--limit", "1"]
    arguments += ["--inbound-from", "192.0.2.0/23", "--scoped"]
    script = closedmail_inside("export", "exchange-online", *arguments, config=gateway.config).stdout
    assert "'192.0.2.1'" in script
    assert "'a.city.example'" in script
    assert "TlsDomain = '*.city.example'" in script
    assert "SenderIPAddresses = @('192.0.2.0/24', '192.0.3.0/24')" in script
    assert "Name = 'closedmail-scoped'" in script
    onprem = closedmail_inside("export", "exchange-onprem", "--domain-secure", config=gateway.config).stdout
    assert "Set-TransportConfig" in onprem


def test_without_a_generation(tmp_path: Path) -> None:
    gateway = make_gateway(tmp_path / "gateway")
    shutil.rmtree(gateway.state_dir)
    place = tmp_path / "export"
    said = closedmail_inside("export", "mailertable", "--output", str(place), config=gateway.config)
    sync = f"closedmail --config {gateway.config} sync"
    assert (said.status, said.error) == (1, f"{gateway.store}: no generation is in force yet; run: {sync}")
    assert not place.exists()


def test_a_place_that_cannot_be_written(gateway: Gateway, tmp_path: Path) -> None:
    said = closedmail_inside("export", "csv", "--output", str(tmp_path / "no" / "where"), config=gateway.config)
    assert (said.status, "No such file or directory" in said.error) == (1, True)
    (tmp_path / "folder").mkdir()
    said = closedmail_inside("export", "csv", "--output", str(tmp_path / "folder"), config=gateway.config)
    assert (said.status, "Is a directory" in said.error) == (1, True)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


@pytest.mark.real("root")
def test_a_full_disk_leaves_the_old_file(gateway: Gateway) -> None:
    said = closedmail("export", "json", config=gateway.config, stdout=os.open("/dev/full", os.O_WRONLY))
    assert (said.status, "No space left on device" in said.stderr) == (1, True)


def test_the_generation_in_force_counts_not_the_file(tmp_path: Path) -> None:
    """Rules and DNS servers alike are those of the generation, and it is said that the file has others."""
    gateway = make_gateway(tmp_path, network=GUARDED)
    gateway.configure(network=GUARDED.replace("192.0.2.53", "192.0.2.99"), inbound='mode = "off"\n' + ALLOWED)
    said = closedmail_inside("export", "json", config=gateway.config)
    assert said.status == 0
    assert said.stderr == (
        "closedmail: note: the configuration file has changed since generation 1; "
        f"closedmail --config {gateway.config} sync puts it in force\n"
    )
    assert said.json["dns_servers"] == {"ndb": ["192.0.2.53"]}
    assert said.json["rules"]["network.ndb"]["inbound"]["mode"] == "enforce"
    gateway.sync()
    said = closedmail_inside("export", "json", config=gateway.config)
    assert (said.json["generation"], said.json["dns_servers"], said.stderr) == (2, {"ndb": ["192.0.2.99"]}, "")


def test_the_mailertable_passes_lint(gateway: Gateway, tmp_path: Path) -> None:
    place = tmp_path / "mailertable"
    assert closedmail_inside("export", "mailertable", "--output", str(place), config=gateway.config).status == 0
    said = closedmail_inside("lint", "--json", str(place), config=gateway.config)
    assert (said.status, said.json["bad"]) == (0, [])
    assert said.json["lines"] > len(LIST)


# Signing


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    folder = Path(tempfile.mkdtemp(prefix="cm-"))
    signer = Signer(folder / "own", "City <gateway@city.example>")
    yield signer
    signer.stop()
    shutil.rmtree(folder)


@pytest.mark.real("gpg")
def test_a_signed_mailertable(gateway: Gateway, tmp_path: Path, signer: Signer) -> None:
    environment = {"GNUPGHOME": str(signer.home)}
    place = tmp_path / "mailertable.asc"
    arguments = ["export", "mailertable", "--sign", signer.fingerprint, "--output", str(place)]
    said = closedmail(*arguments, config=gateway.config, environment=environment)
    assert (said.status, said.stdout, said.stderr) == (0, "", "")
    status = gpg(signer.home, "--status-fd", "1", "--verify", str(place)).decode()
    assert f"VALIDSIG {signer.fingerprint}" in status
    text = gpg(signer.home, "--decrypt", str(place)).decode()
    plain = closedmail("export", "mailertable", config=gateway.config).stdout.splitlines()
    assert text.splitlines() == [
        plain[0],
        f"# Signed by its exporter, with the key {signer.fingerprint}",
        *plain[1:],
    ]
    assert closedmail_inside("lint", str(place), config=gateway.config).status == 0
    # A signature has a time: the same text is not signed anew.
    before = identity(place)
    closedmail(*arguments, config=gateway.config, environment=environment)
    assert identity(place) == before


@pytest.mark.real("gpg")
def test_signing_with_a_key_that_is_not_there(gateway: Gateway, tmp_path: Path, signer: Signer) -> None:
    place = tmp_path / "mailertable.asc"
    arguments = ["export", "mailertable", "--sign", "0" * 40, "--output", str(place)]
    said = closedmail(*arguments, config=gateway.config, environment={"GNUPGHOME": str(signer.home)})
    assert (said.status, "gpg can't sign with 0000" in said.error) == (1, True)
    assert not place.exists()


# Size


@pytest.mark.parametrize("name", TARGETS)
def test_large_lists(tmp_path_factory: pytest.TempPathFactory, large: Gateway, name: str) -> None:
    """20,000 domains in a second or two, in this process's own time."""
    place = tmp_path_factory.mktemp("large") / "export"
    before = os.times()
    said = closedmail_inside("export", name, *NEEDED.get(name, []), "--output", str(place), config=large.config)
    after = os.times()
    assert said.status == 0, said.stderr
    assert after.user - before.user < 8
    text = "".join(path.read_text() for path in (place.iterdir() if place.is_dir() else [place]))
    assert text.count("d19999.example") >= 1


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    gateway = Gateway(tmp_path_factory.mktemp("large"))
    gateway.write_list(f"d{n}.example\tesmtp:[198.51.{n // 250 % 250}.{n % 250 + 1}]" for n in range(20_000))
    gateway.configure(network=GUARDED)
    gateway.sync()
    return gateway


def test_json_is_one_object(gateway: Gateway) -> None:
    said = closedmail_inside("export", "json", config=gateway.config)
    assert list(json.loads(said.stdout)) == [
        *("generation", "published_at", "own_domains", "trusted_clients", "exempt_sasl", "dns_servers"),
        *("rules", "domains"),
    ]
