"""What main.cf says of the table that refuses unusual spellings, and who tells: sync, status, explain."""

import pytest
from support.network import Site

from closedmail.core.model import PostfixMaps
from closedmail.mta.recipient_guard import lacks_guard

OURS, GUARD = "hash:/m/transport", "regexp:/m/recipients_unusual"


@pytest.mark.parametrize(
    ("transport_maps", "lacks"),
    [
        ("", False),  # not connected yet
        ("hash:/etc/postfix/transport", False),
        (OURS, True),
        (f"hash:/etc/postfix/transport, proxy:{OURS}", True),
        (f"inline:{{ {{ a.example = smtp:[192.0.2.1] }} }} {OURS} regexp:/etc/postfix/recipients_unusual", True),
        (f"{OURS}, {GUARD}", False),
        (f"{GUARD} {OURS}", False),
        (GUARD, False),
    ],
)
def test_lacks_guard(transport_maps: str, lacks: bool) -> None:
    assert lacks_guard(transport_maps, PostfixMaps(map_dir="/m/")) is lacks


@pytest.mark.real("postmap", "postconf")
def test_who_tells(plain: Site) -> None:
    """Setup was not run anew: main.cf names the routes alone."""
    plain.put("xn--kln-sna.example\tesmtp:[192.0.2.20]\n")
    plain.published()
    assert plain.lookup(["x@k\u00f6ln.example"], "transport") == {}
    tables = f"{plain.map_type}:{plain.map_dir}/transport"
    for guard, told in (("", True), (f", regexp:{plain.map_dir}/recipients_unusual", False)):
        plain.write_main_cf(f"transport_maps = {tables}{guard}\n")
        for command in ("sync", "status"):
            assert ("does not name recipients_unusual" in plain.run(command).stdout) is told, command
            assert ("setup" in plain.run(command).stdout) is told, command
        for spelled in ("x@ko\u0308ln.example", "k\u00f6\u00adln.example", "x%k\u00f6ln\u3002example"):
            found = plain.run("explain", "--json", "--recipient", spelled)
            assert found.status == 1
            assert found.json["verdict"] == ("none" if told else "error")
            assert ("public DNS" in found.json["text"]) is told
            assert ((found.json["transport"] or "").startswith("error:5.1.3")) is not told
        for spelled in (
            "x@k\u00f6ln.example",
            "X@K\u00d6LN.EXAMPLE.",
            "xn--kln-sna.example",
            "ko\u0308@k\u00f6ln.example",
        ):
            assert plain.run("explain", "--json", "--recipient", spelled).json["verdict"] == "routed", spelled


@pytest.mark.real("postmap", "postconf")
def test_the_table_is_published_and_asked(plain: Site) -> None:
    plain.put("xn--kln-sna.example\tesmtp:[192.0.2.20]\n")
    plain.published()
    text = (plain.map_dir / "recipients_unusual").read_bytes()
    assert text.startswith((plain.map_dir / "transport").read_bytes().partition(b"\n")[0])
    (plain.map_dir / "recipients_unusual").unlink()
    assert "recipients_unusual" in plain.run("status").stdout
    assert not plain.sync().refused
    assert (plain.map_dir / "recipients_unusual").read_bytes().partition(b"if ")[2] == text.partition(b"if ")[2]
