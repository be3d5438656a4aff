"""Lost partners on a running Postfix: their mail waits, and never reaches the public MX."""

import shutil
import tempfile
from pathlib import Path

import pytest
from support.network import routes
from support.private_postfix import PrivatePostfix
from support.sink import Sink

from closedmail.config import load
from closedmail.sync.run import sync

pytestmark = pytest.mark.real("root", "postfix", "postfix-lmdb")


def test_999_of_1000_lines_become_local() -> None:
    """Refused as shrunk, and what was routed still is; with --force, held. A store moved away changes nothing."""
    folder = Path(tempfile.mkdtemp(prefix="closedmail-"))
    folder.chmod(0o755)
    try:
        with Sink() as partner, Sink() as public:
            check_mail(folder, partner, public)
    finally:
        shutil.rmtree(folder)


def check_mail(folder: Path, partner: Sink, public: Sink) -> None:
    """`public` stands for all MX hosts of the Internet, as the relayhost of what has no route."""
    maps, state, config = folder / "maps", folder / "state", folder / "closedmail.toml"
    lists = folder / "list"
    settings = {
        "default_transport": "smtp",
        "relayhost": f"[{public.address}]:{public.port}",
        "transport_maps": f"lmdb:{maps}/transport",
        "smtp_tls_policy_maps": f"lmdb:{maps}/tls_policy",
        "default_database_type": "lmdb",
    }
    with PrivatePostfix(folder / "postfix", settings) as postfix:
        config.write_text(
            f'[gateway]\nstate_dir = "{state}"\nown_domains = ["city.example"]\n'
            f'[postfix]\nmap_dir = "{maps}"\nconfig_directory = "{postfix.etc}"\n'
            f'[network.ndb]\nsource = "{lists}"\nsignature = "none"\n'
            f'inbound = {{mode = "enforce", allow_from = ["192.0.2.0/24"]}}\n'
            f'outbound = {{tls = "may", smarthost = ["[{partner.address}]:{partner.port}"], transport = "smtp"}}\n'
        )
        gateway = load(config)
        lists.write_text(routes(1000))
        assert not sync(gateway).refused
        postfix.submit("u@city.example", ["a@d00500.example", "stranger@elsewhere.example"])
        assert [mail.recipients for mail in partner.wait()] == [("a@d00500.example",)]
        assert [mail.recipients for mail in public.wait()] == [("stranger@elsewhere.example",)]

        lists.write_text(routes(1) + "".join(f"d{number:05}.example\tlocal:x\n" for number in range(1, 1000)))
        assert sync(gateway).networks["ndb"].code == "shrunk"
        postfix.submit("u@city.example", ["b@d00500.example"])
        assert len(partner.wait(2)) == 2

        assert len(sync(gateway, force=True).networks["ndb"].held) == 999
        assert_waits(postfix, "c@d00500.example")
        shutil.rmtree(state / "store")  # as the advice for a broken one is
        assert not sync(gateway).refused
        assert_waits(postfix, "d@d00501.example")
        postfix.submit("u@city.example", ["e@d00000.example", "other@elsewhere.example"])
        assert partner.wait(3)[-1].recipients == ("e@d00000.example",)
        assert len(public.wait(2)) == 2
        assert {recipient for mail in public.mails for recipient in mail.recipients} == {
            "stranger@elsewhere.example",
            "other@elsewhere.example",
        }


def assert_waits(postfix: PrivatePostfix, recipient: str) -> None:
    """The mail is in the queue, with the reason. A reload stands for the seconds until a new map is read."""
    postfix.reload()
    postfix.submit("u@city.example", [recipient])
    postfix.wait_for_log(rf"to=<{recipient}>.* status=deferred .*mail for this domain is held")
    assert any(recipient in entry.recipients for entry in postfix.queue())
