"""Whatever index Postfix's configuration names for our maps, it has the routes in force: with a real postmap."""

import os
import subprocess

import pytest
from support.network import Site

pytestmark = pytest.mark.real("postconf", "postmap", "postfix-lmdb")
OLD = "koeln.example esmtp:[192.0.2.1]\n"
NEW = OLD + "bonn.example esmtp:[192.0.2.2]\n"


def answer(site: Site, table: str, key: str = "bonn.example") -> str:
    """What a Postfix that reads this table finds."""
    command = ["postmap", "-c", str(site.etc), "-q", key, table]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def test_an_upgrade_that_changes_the_default(plain: Site) -> None:
    """main.cf goes on naming `hash:`, also for the TLS policy of one service; the next runs change nothing."""
    transport, policy = plain.map_dir / "transport", plain.map_dir / "tls_policy"
    plain.write_main_cf(f"default_database_type = hash\ntransport_maps = hash:{transport}\n")
    master = plain.etc / "master.cf"
    entry = f"relay unix - - n - - smtp\n  -o smtp_tls_policy_maps=hash:{policy}\n"
    master.write_text(
        master.read_text().replace("relay     unix  -       -       n       -       -       smtp\n", entry)
    )
    os.utime(master, (plain.now - 60, plain.now - 60))
    plain.put(OLD)
    plain.published()
    plain.write_main_cf(f"default_database_type = lmdb\ntransport_maps = hash:{transport}\n")
    plain.put(NEW)
    plain.published()
    assert answer(plain, f"hash:{transport}") == "smtp:[192.0.2.2]"
    assert answer(plain, f"hash:{policy}", "[192.0.2.2]") == "encrypt"
    assert not list(plain.map_dir.glob("*.lmdb"))
    before = plain.in_force()
    plain.now += 3600
    plain.sync()
    assert plain.in_force() == before


def test_an_index_that_lies_beside_is_never_old(plain: Site) -> None:
    transport = plain.map_dir / "transport"
    plain.put(OLD)
    plain.settings["postfix.map_type"] = "hash"
    plain.published()
    plain.settings["postfix.map_type"] = "lmdb"
    plain.put(NEW)
    plain.published()
    assert {answer(plain, f"{kind}:{transport}") for kind in ("hash", "lmdb")} == {"smtp:[192.0.2.2]"}


@pytest.mark.parametrize("named", ["nosuch", "btree"])
def test_a_type_that_can_not_be_made_as_well(plain: Site, named: str) -> None:
    """btree and hash have one file between them. What Postfix has no type for it does not read."""
    transport = plain.map_dir / "transport"
    plain.settings["postfix.map_type"] = "hash"
    plain.put(OLD)
    plain.published()
    plain.write_main_cf(f"transport_maps = {named}:{transport}\n")
    plain.put(NEW)
    if named == "nosuch":
        plain.published()
        return
    refused = plain.sync().networks["ndb"]
    assert (refused.result, refused.code) == ("refused", "publish-failed")
    assert "as hash and as btree, which have one file: choose one" in refused.reason
    assert answer(plain, f"hash:{transport}", "koeln.example") == "smtp:[192.0.2.1]"
