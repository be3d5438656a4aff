"""`closedmail lint`: which lines of a list sync would skip, and why; the same lines as sync's own."""

import os
from ipaddress import ip_address
from pathlib import Path

import pytest
from support.daemon import Output, closedmail, closedmail_inside
from support.gateway import Gateway
from support.network import Signers, Site

import closedmail as closedmail_package
from closedmail.mta.own_addresses import own_addresses

GOOD = "koeln.example\tesmtp:[192.0.2.1]\n.land.example\tsmtp:mx.land.example\n"
BAD = """\
# A list with every kind of line that is not taken.
koeln.example\tesmtp:[192.0.2.1]

koeln.example\tesmtp:[192.0.2.1]
koeln.example\tesmtp:[192.0.2.2]
alone.example
ungefaehr.example esmtp:
 indented.example esmtp:[192.0.2.3]
nomailer.example [192.0.2.4]
strange.example uucp:host
local.example local:joe
procmail.example procmail:/etc/x
com smtp:mx.example
co.uk smtp:mx.example
. smtp:mx.example
city.example esmtp:[192.0.2.5]
below.city.example esmtp:[192.0.2.5]
admitted.city.example esmtp:[192.0.2.6]
bonn.example error:5.7.1:550 gone
Write to gmail.com instead: it is better
percent.example esmtp:%1.gw.example
duesseldorf.example esmtp:[192.0.2.999]
loopback.example esmtp:[127.0.0.1]
bare.example esmtp: mx
nothing.example error:
blanks.example esmtp : [192.0.2.7] , [192.0.2.8]
"""
ALWAYS = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25]  # by no rule of a configuration
CONFIGURED = sorted([*ALWAYS, 16, 17])  # city.example and what is below, but for what has a [partner] table


def lint(file: Path, *arguments: str, config: Path) -> Output:
    return closedmail_inside("lint", *arguments, str(file), config=config)


def lines(found: Output) -> list[int]:
    return [bad["line"] for bad in found.json["bad"]]


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual place of the configuration, where there is none."""
    missing = tmp_path / "none.toml"
    for module in ("closedmail.cli.main", "closedmail.cli.lint_command"):
        monkeypatch.setattr(f"{module}.DEFAULT_CONFIG", str(missing))
    return missing


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    gateway = Gateway(tmp_path)
    gateway.configure(partners='[partner."admitted.city.example"]\nnetwork = "ndb"')
    return gateway


def test_json_of_a_good_list(tmp_path: Path, without: Path) -> None:
    file = tmp_path / "list"
    file.write_text(f"# comment\n\n{GOOD}")
    found = lint(file, "--json", config=without)
    assert (found.status, found.stderr) == (0, "")
    assert found.json == {"lines": 4, "bad": []}


def test_json_of_a_bad_list_without_a_configuration(tmp_path: Path, without: Path) -> None:
    file = tmp_path / "list"
    file.write_text(BAD)
    found = lint(file, "--json", config=without)
    assert (found.status, found.stderr) == (1, "")
    assert list(found.json) == ["lines", "bad"]
    assert found.json["lines"] == 26
    assert lines(found) == ALWAYS
    texts = BAD.splitlines()
    for bad in found.json["bad"]:
        assert list(bad) == ["line", "text", "reason"]
        assert bad["text"] == texts[bad["line"] - 1]
        assert bad["reason"]
        assert bad["reason"].isprintable()


def test_the_usual_configuration_sets_nothing_yet(tmp_path: Path, without: Path) -> None:
    """As a package installs it. One that was named by hand should have said something."""
    file = tmp_path / "list"
    file.write_text(BAD)
    without.write_text("#[gateway]\n")
    assert lines(lint(file, "--json", config=without)) == ALWAYS
    named = tmp_path / "named.toml"
    named.write_text("#[gateway]\n")
    found = lint(file, "--json", config=named)
    assert (found.status, found.stdout) == (2, "")
    assert found.stderr.startswith(f"closedmail: error: {named}: nothing is set in it yet; ")


def test_own_domains_and_partners_of_the_configuration_count(gateway: Gateway) -> None:
    gateway.list.write_text(BAD)
    found = lint(gateway.list, "--json", config=gateway.config)
    assert (found.status, lines(found)) == (1, CONFIGURED)
    gateway.list.write_text(GOOD + "admitted.city.example esmtp:[192.0.2.6]\n")
    assert lint(gateway.list, config=gateway.config).status == 0


def test_the_words_for_people(gateway: Gateway) -> None:
    gateway.list.write_text(GOOD + "city.example esmtp:[192.0.2.5]\nalone.example\n")
    said = lint(gateway.list, config=gateway.config)
    assert (said.status, said.stderr) == (1, "")
    shown = said.stdout.splitlines()
    assert shown[0] == "line 3: an own domain is never taken from a list: city.example esmtp:[192.0.2.5]"
    assert shown[1].startswith("line 4: ")
    assert shown[1].endswith(": alone.example")
    assert shown[2:] == ["4 lines, 2 domains, 2 lines skipped"]


@pytest.mark.real("gpg", "postmap", "postconf")
@pytest.mark.parametrize("which", ["site", "plain"])
def test_the_same_lines_as_sync(request: pytest.FixtureRequest, which: str) -> None:
    """Signed or not."""
    gateway: Site = request.getfixturevalue(which)
    gateway.partner("admitted.city.example", network="ndb")
    gateway.put(BAD)
    synced = gateway.run("sync", "--json", "--force").json["networks"]["ndb"]
    assert synced["result"] == "published"
    linted = gateway.run("lint", "--json", str(gateway.list_file()))
    assert linted.json["bad"] == synced["skipped"]
    assert lines(Output(1, linted.stdout, "")) == CONFIGURED


SIGNED = pytest.mark.real("gpg")


@SIGNED
@pytest.mark.parametrize("how", ["clearsigned", "armored message", "binary message"])
def test_signed_files_are_read_and_not_verified(tmp_path: Path, without: Path, signers: Signers, how: str) -> None:
    """The number is that of the line in the list, not in the file: it is what sync says, too."""
    file = tmp_path / "list.asc"
    signer = signers.stranger
    text = BAD.encode()
    match how:
        case "clearsigned":
            file.write_bytes(signer.clearsign(text))
        case "armored message":
            file.write_bytes(signer.sign(text, extra=["--armor"]))
        case "binary message":
            file.write_bytes(signer.sign(text))
    found = lint(file, "--json", config=without)
    assert (found.status, lines(found)) == (1, ALWAYS)
    assert found.stderr == ""


@SIGNED
def test_a_good_signed_file(tmp_path: Path, without: Path, signers: Signers) -> None:
    file = tmp_path / "list.asc"
    file.write_bytes(signers.stranger.clearsign(GOOD.encode()))
    found = lint(file, "--json", config=without)
    assert (found.status, found.json) == (0, {"lines": 2, "bad": []})


@SIGNED
def test_a_signed_file_that_is_damaged(tmp_path: Path, without: Path, signers: Signers) -> None:
    whole = signers.stranger.clearsign(GOOD.encode())
    file = tmp_path / "list.asc"
    for data in (
        whole[: len(whole) // 2],
        whole[:40],
        b"-----BEGIN PGP MESSAGE-----\n\n!!\n-----END PGP MESSAGE-----\n",
    ):
        file.write_bytes(data)
        found = lint(file, "--json", config=without)
        assert (found.status, bool(found.error)) == (1, True)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 0),
        (b"\n\n\n", 0),
        (b"# only a comment \xff\xfe", 0),
        (b"koeln.example esmtp:[192.0.2.1]", 0),  # no line end
        (b"koeln.example esmtp:[192.0.2.1]\r\nbonn.example esmtp:[192.0.2.2]\r\n", 0),
        (b"\xef\xbb\xbfkoeln.example esmtp:[192.0.2.1]\n", None),
        (b"\x00" * 5000, 1),
        (bytes(range(256)) * 50, 1),
        (b"x" * 3_000_000, 1),
        (b"koeln.example \xff\xfe\n", 1),
        (b"\x85\x01\x0c\x03" + os.urandom(500), 1),
        ("müller.example esmtp:[192.0.2.1]\n".encode("utf-16"), 1),
    ],
)
@SIGNED
def test_noise(tmp_path: Path, without: Path, data: bytes, status: int | None) -> None:
    """Whatever the bytes are: a report, or one line that says what is wrong with them."""
    file = tmp_path / "noise"
    file.write_bytes(data)
    found = lint(file, "--json", config=without)
    if status is not None:
        assert found.status == status
    if found.stdout:
        assert found.stderr == ""
        assert bool(found.json["bad"]) == (found.status == 1)
        assert all(len(bad["text"]) <= 4 * 1100 for bad in found.json["bad"])
    else:
        assert found.error


def test_files_that_cannot_be_read(tmp_path: Path, without: Path) -> None:
    for file, reason in ((tmp_path / "missing", "No such file or directory"), (tmp_path, "Is a directory")):
        found = lint(file, "--json", config=without)
        assert found.status == 1
        assert found.error == f"{file}: {reason}"


def test_a_named_configuration_has_to_be_there(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text(GOOD)
    missing = tmp_path / "missing.toml"
    assert closedmail("lint", file, config=missing).status == 2
    assert closedmail("lint", file, environment={"CLOSEDMAIL_CONFIG": str(missing)}).status == 2
    missing.write_text("[gateway]\n")
    said = closedmail("lint", file, config=missing)
    assert (said.status, said.error.startswith("gateway.own_domains: ")) == (2, True)


def test_usage(tmp_path: Path, without: Path) -> None:
    for arguments in ([], ["a", "b"], ["--no-such-option", "a"]):
        said = closedmail_inside("lint", *arguments, config=without)
        assert (said.status, bool(said.error)) == (2, True)


@pytest.mark.real("postmap", "postconf")
def test_the_same_lines_by_within(plain: Site) -> None:
    """With several networks, the bounds are those of the network whose list it is."""
    plain.set(within=["koeln.example", ".example.com"])
    plain.put(BAD)
    synced = plain.run("sync", "--json", "--force").json["networks"]["ndb"]
    skipped = [line["line"] for line in synced["skipped"]]
    assert skipped == [line for line in range(5, 27) if line != 4]
    arguments = ("lint", "--json", str(plain.list_file()))
    assert plain.run(*arguments).json["bad"] == synced["skipped"]
    plain.add_network("hin")
    plain.settings["network.alone.source"] = ""
    plain.settings["network.alone.inbound.mode"] = "off"
    plain.settings["network.alone.outbound.tls"] = "may"
    which = plain.run(*arguments)
    assert (which.status, which.stdout) == (2, "")
    assert which.stderr == (
        "closedmail: error: --network: the networks' within differ; say whose list it is, one of: ndb, hin\n"
    )
    assert plain.run(*arguments, "--network", "ndb").json["bad"] == synced["skipped"]
    hin = [line["line"] for line in plain.run(*arguments, "--network", "hin").json["bad"]]
    assert hin == sorted([*CONFIGURED, 18])
    for name in ("nobody", "alone"):
        unknown = plain.run(*arguments, "--network", name)
        assert (unknown.status, unknown.stdout) == (2, "")
        assert f"no network '{name}' that has a list (configured: ndb, hin)" in unknown.stderr


@pytest.mark.real("postmap", "postconf")
def test_this_machine_s_own_addresses(plain: Site) -> None:
    """As sync, in processes that see this machine as it is."""
    own = sorted(address for address in own_addresses() if not ip_address(address).is_loopback)
    literals = [f"[IPv6:{address}]" if ":" in address else f"[{address}]" for address in own]
    plain.put("".join(f"a{at}.example esmtp:{literal}\n" for at, literal in enumerate(literals)) + GOOD)
    path = str(Path(closedmail_package.__file__).parents[1])
    linted = plain.spawn("lint", "--json", str(plain.list_file()), PYTHONPATH=path).json["bad"]
    assert [bad["line"] for bad in linted] == [*range(1, len(own) + 1)]
    synced = plain.spawn("sync", "--json", PYTHONPATH=path).json["networks"]["ndb"]
    assert synced["skipped"] == linted
    assert synced["held"] == [f"a{at}.example" for at in range(len(own))]


def test_old_line_ends(tmp_path: Path, without: Path) -> None:
    """No line can be told, so that none is named."""
    file = tmp_path / "list"
    file.write_bytes(GOOD.replace("\n", "\r").encode())
    found = lint(file, "--json", config=without)
    assert (found.status, found.stdout) == (1, "")
    assert found.stderr.startswith(f"closedmail: error: {file}: its lines end with CR alone, as on old Macs, ")
