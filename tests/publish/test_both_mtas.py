"""Postfix and Sendmail in one configuration: one switch for the maps of both.

No machine has both installed, so that `makemap` is a stand-in here, which keeps the rows as they come.
"""

import os
from pathlib import Path

import pytest
from support.core_samples import LONG_ROUTE
from support.network import Site, put_program

from closedmail.core.hold_reason import Why
from closedmail.core.record import Entry, State
from closedmail.errors import ConfigError, StoreError
from closedmail.exports.targets import TARGETS
from closedmail.publish import built_maps as publish_maps
from closedmail.store.writer import StoreWriter

pytestmark = pytest.mark.real("postmap", "postconf")

OLD = "koeln.example\tesmtp:[192.0.2.1]\n"
NEW = "koeln.example\tesmtp:[192.0.2.2]\nbonn.example\tsmtp:mx.bonn.example\n"
MAKEMAP = """#!/bin/sh
if [ "$1" = -u ]; then
    exec cat "$3.db"
fi
awk -F '\\t' -v OFS='\\t' '!/^#/ { $1 = tolower($1); print }' >"$2.db"
"""


@pytest.fixture
def both(plain: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with a list in force in the maps of both."""
    folder = plain.folder / "bin"
    folder.mkdir()
    put_program(folder / "makemap", MAKEMAP)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    plain.settings["sendmail.map_dir"] = str(plain.folder / "sendmail")
    plain.put(OLD)
    plain.published()
    return plain


def sendmail_rows(site: Site, name: str) -> list[str]:
    return (site.folder / "sendmail" / f"{name}.db").read_text().splitlines()


def test_demands_store_routes(both: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    replace, commit, touch = Path.replace, StoreWriter.commit, publish_maps.touch_displaced

    def noting_replace(self: Path, target: Path) -> Path:
        steps.append(target.name)
        return replace(self, target)

    def noting_commit(store: StoreWriter) -> None:
        steps.append("store")
        commit(store)

    def noting_touch(displaced: Path) -> None:
        steps.append(f"touch {len(list(displaced.glob('*')))}")
        touch(displaced)

    monkeypatch.setattr(Path, "replace", noting_replace)
    monkeypatch.setattr(StoreWriter, "commit", noting_commit)
    monkeypatch.setattr("closedmail.publish.switch.touch_displaced", noting_touch)
    both.put(NEW)
    both.published()
    index = next(both.map_dir.glob("transport.*")).suffix
    assert steps[steps.index(f"tls_policy{index}") : steps.index("touch 4") + 1] == [
        *(f"tls_policy{index}", "tls_policy", "recipients_unusual", "access.db", "access", "touch 2"),
        *("store", "touch 2"),
        *(f"transport{index}", "transport", "mailertable.db", "mailertable", "touch 4"),
    ]
    assert both.rows() == {"bonn.example": "smtp:mx.bonn.example", "koeln.example": "smtp:[192.0.2.2]"}
    assert sendmail_rows(both, "mailertable") == [
        "bonn.example\tsmtp:mx.bonn.example",
        "koeln.example\tesmtp:[192.0.2.2]",
    ]
    assert sendmail_rows(both, "access") == ["tls_rcpt:bonn.example\tENCR:128", "tls_rcpt:koeln.example\tENCR:128"]


def test_what_fails_is_taken_back_everywhere(both: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> dict[str, tuple[int, int, bytes]]:
        paths = [path for folder in ("maps", "sendmail") for path in (both.folder / folder).rglob("*")]
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in paths}

    def commit(_: StoreWriter) -> None:
        raise StoreError("store: no space left")

    before = found()
    both.put(NEW)
    with monkeypatch.context() as context:
        context.setattr(StoreWriter, "commit", commit)
        both.refused("publish-failed")
    assert found() == before
    with monkeypatch.context() as context:
        put_program(both.folder / "bin" / "makemap", "#!/bin/sh\nexit 65\n")
        assert "makemap: exit status 65" in both.refused("publish-failed").reason
    assert found() == before
    put_program(both.folder / "bin" / "makemap", MAKEMAP)
    assert both.published().added == ["bonn.example"]


def test_makemap_is_missing(both: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (both.folder / "bin" / "makemap").unlink()
    both.put(NEW)
    assert "is Sendmail installed?" in both.refused("publish-failed").reason


def test_each_has_a_folder_of_its_own(both: Site) -> None:
    both.settings["sendmail.map_dir"] = str(both.map_dir)
    with pytest.raises(ConfigError, match=r"sendmail\.map_dir: Postfix's maps are in this folder"):
        both.sync()


def test_a_damaged_map_of_either_is_put_right(both: Site) -> None:
    for path in (both.map_dir / "transport", both.folder / "sendmail" / "access.db"):
        path.write_text("")
        assert both.sync().generation == 1
        assert sendmail_rows(both, "access") == ["tls_rcpt:koeln.example\tENCR:128"]
        both.assert_consistent()


def test_explain_speaks_of_both(both: Site) -> None:
    found = both.run("explain", "--recipient", "u@koeln.example", "--json").json
    assert (found["transport"], found["tls_policy"]) == ("smtp:[192.0.2.1]", {"[192.0.2.1]": "encrypt"})
    assert found["sendmail"] == {
        "mailertable": {"koeln.example": "esmtp:[192.0.2.1]"},
        "access": {"TLS_Rcpt:koeln.example": "ENCR:128"},
    }
    words = both.run("explain", "--recipient", "koeln.example").stdout
    assert "Sendmail's mailertable: koeln.example esmtp:[192.0.2.1]\n" in words
    assert "Sendmail's access: TLS_Rcpt:koeln.example ENCR:128\n" in words
    assert "Sendmail's mailertable: no row\n" in both.run("explain", "--recipient", "nobody.example").stdout


# Held domains, and every command that speaks of them

EXPLAINED = {
    Why.NOTHING: "held",
    Why.LOST: "the list lost it; {closedmail} release ends the hold",
    Why.UNCLEAR: "its line in the list is not understood",
    Why.TLS: "its TLS policy can't be met; {closedmail} sync shows what to do",
    Why.FOLDED: "for Postfix its spelling is another domain's too",
    Why.ROUTE: "its route is too long for Sendmail",
    Why.FAMILY: "inet_protocols of Postfix rules out each address of its route; {closedmail} sync shows what to do",
}
EXPORTS = [(name, form) for name, target in TARGETS.items() for form in target.forms]


def assert_exports_have(site: Site, *domains: str) -> None:
    """Every target and form can be made, and has these domains."""
    for name, form in EXPORTS:
        place = site.folder / f"export-{name}-{form}"
        relay = ["--relay", "relay.city.example"] if "relay" in TARGETS[name].needed else []
        done = site.run("export", name, "--form", form, *relay, "--output", str(place))
        assert (done.status, done.stderr) == (0, ""), name
        text = "".join(path.read_text() for path in (place.iterdir() if place.is_dir() else [place]))
        assert [domain for domain in domains if domain not in text] == [], name


def test_a_route_that_is_too_long_for_sendmail(both: Site) -> None:
    """It holds its domain, and ends no command."""
    both.set(dns__servers=["192.0.2.53"])
    both.put(f"{OLD}long.example {LONG_ROUTE}\n")
    assert both.published().added == ["long.example"]
    reply = "mail for this domain is held: its route is too long"
    assert both.route("long.example") == f"retry:4.3.5 {reply}"
    assert f'long.example\terror:4.3.5:"450 {reply}"' in sendmail_rows(both, "mailertable")
    found = both.run("explain", "--recipient", "long.example", "--json").json
    assert (found["verdict"], found["transport"]) == ("held", f"retry:4.3.5 {reply}")
    assert found["text"] == f"Mail to long.example is held and waits: {EXPLAINED[Why.ROUTE]}."
    assert found["sendmail"]["mailertable"] == {"long.example": f'error:4.3.5:"450 {reply}"'}
    assert_exports_have(both, "koeln.example", "long.example")


def test_every_reason_for_holding(both: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a store may say, explain and every export have words for it."""
    names = {why: f"{why.name.lower()}.example" for why in Why}
    entries = {name: Entry(0, "esmtp:[192.0.2.1]", 0, State.HELD, why) for why, name in names.items()}
    put_domains = StoreWriter.put_domains
    monkeypatch.setattr(StoreWriter, "put_domains", lambda store, _: put_domains(store, sorted(entries.items())))
    both.set(dns__servers=["192.0.2.53"])
    both.put(NEW)
    both.published()
    for why, name in names.items():
        done = both.run("explain", "--recipient", name, "--json")
        assert (done.status, done.json["verdict"]) == (1, "held")
        explained = EXPLAINED[why].replace("{closedmail}", f"closedmail --config {both.config_path}")
        assert done.json["text"] == f"Mail to {name} is held and waits: {explained}."
        assert done.json["transport"].startswith(f"retry:{why.reason.dsn} {why.reason.reply}")
        assert done.json["sendmail"]["mailertable"] == {name: f'error:{why.reason.dsn}:"450 {why.reason.reply}"'}
    assert_exports_have(both, *entries)
