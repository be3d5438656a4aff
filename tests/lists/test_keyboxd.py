"""The gpg of Debian 13 where /etc/gnupg/common.conf tells it to keep keys in keyboxd, and so to ignore keyrings."""

import json
from functools import partial
from pathlib import Path

import pytest
from support.keys import Signer
from support.machines.machine import NEEDS, systemd_tree
from support.machines.tree import Machine

pytestmark = pytest.mark.real(*NEEDS, "gpg")

CONFIG = """\
[gateway]
own_domains = ["city.example"]
state_dir = "/srv/state"
[network.ndb]
source = "/srv/list.asc"
key_file = "/srv/key.asc"
signing_keys = ["SIGNER"]
outbound = { tls = "encrypt" }
inbound = { mode = "enforce", allow_from = ["127.0.0.10"] }
"""


def test_use_keyboxd_is_named(tmp_path: Path) -> None:
    """It is no wrong signer: `sync` and `status` say what to do, and when it is done the same list is taken."""
    signer = Signer(tmp_path / "gpg", "Network <list@ndb.example>")
    try:
        key, listed = signer.public(), signer.clearsign(b"koeln.example esmtp:[192.0.2.20]\n")
    finally:
        signer.stop()
    with Machine(partial(systemd_tree, "trixie")) as machine:
        machine.write("/srv/key.asc", key)
        machine.write("/srv/list.asc", listed)
        machine.write("/srv/closedmail.toml", CONFIG.replace("SIGNER", signer.fingerprint))
        machine.write("/etc/gnupg/common.conf", "use-keyboxd\n")
        done = machine.closedmail("/srv/closedmail.toml", "sync", check=False)
        assert done.returncode == 1
        assert "ndb: bad-signature: gpg ignores the keyring" in done.stderr
        assert "use-keyboxd for all users; take that line out of /etc/gnupg/common.conf" in done.stderr
        status = json.loads(machine.closedmail("/srv/closedmail.toml", "status", "--json", check=False).stdout)
        assert any("take that line out of /etc/gnupg/common.conf" in problem for problem in _texts(status))
        machine.closedmail("/srv/closedmail.toml", "lint", "/srv/list.asc")  # needs no keyring
        machine.write("/etc/gnupg/common.conf", "#use-keyboxd\n")
        assert "Generation 1 is in force." in machine.closedmail("/srv/closedmail.toml", "sync").stdout


def _texts(status: dict[str, dict[str, dict[str, list[str]]]]) -> list[str]:
    return status["networks"]["ndb"]["problems"]
