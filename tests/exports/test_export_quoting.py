"""Texts of exports read back by somebody else's rules: Lua, PowerShell, zone files, access tables."""

import re
from collections.abc import Iterator

import pytest
import tree_sitter
import tree_sitter_powershell
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import configuration, network
from support.export_samples import HOLDS, NAMES, TABLES, configurations, published, text_of, texts_of

from closedmail.core.domain import parents
from closedmail.core.hold_reason import Why
from closedmail.core.model import Config, Inbound, Partner
from closedmail.exports import dns, lua, powershell
from closedmail.exports.notes import Notes
from closedmail.exports.sender_rows import NOT_OURS, _Book, sender_rows
from closedmail.exports.targets import TARGETS
from closedmail.inbound.partner import Match, find_partner

ANY_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)
POWERSHELL = tree_sitter.Language(tree_sitter_powershell.language())


# Lua


@given(ANY_TEXT)
def test_lua_text_reads_back(text: str) -> None:
    """By the rules of the Lua manual for escapes; nothing else can end a string or begin an escape."""
    spelled = lua.escaped(text)
    assert spelled.isascii()
    assert not re.search(r'["\n\r\0]', spelled)
    data, at = bytearray(), 0
    while at < len(spelled):
        if spelled[at] == "\\":
            data.append(int(spelled[at + 1 : at + 4]))
            at += 4
        else:
            data.append(ord(spelled[at]))
            at += 1
    assert data.decode() == text


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1200])
def test_lua_tables_come_in_pieces(count: int) -> None:
    rows = [(f"d{number}.example", f"10 ip-{number}.") for number in range(count)]
    text = "\n".join(lua.calls("read", rows)) + "\n"
    strings = re.findall(r'read\("\\\n((?:.*\\\n)*)"\)\n', text)
    assert len(strings) == -(-count // 500)
    assert re.sub(r'read\("\\\n((?:.*\\\n)*)"\)\n', "", text).strip() == ""
    found = [tuple(line.split(" ", 1)) for piece in strings for line in piece.replace("\\\n", "\n").splitlines()]
    assert found == rows


# PowerShell


def parsed(script: str) -> tree_sitter.Node:
    root = tree_sitter.Parser(POWERSHELL).parse(script.encode()).root_node
    assert not root.has_error, script
    return root


def strings(node: tree_sitter.Node) -> Iterator[str]:
    """All verbatim strings, and numbers of characters, in their order, as the text that they are."""
    if node.type == "verbatim_string_characters":
        assert node.text is not None
        yield node.text.decode()[1:-1].replace("''", "'")
    elif node.type == "hexadecimal_integer_literal":
        assert node.text is not None
        yield chr(int(node.text, 16))
    else:
        assert node.type not in ("expandable_string_literal", "sub_expression", "variable")
        for child in node.children:
            yield from strings(child)


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=30))
def test_powershell_text_reads_back(text: str) -> None:
    spelled = powershell.quoted(text)
    assert spelled.isascii()
    assert "".join(strings(parsed(f"Write-Output {spelled}\n").children[0])) == text


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("a.example", "'a.example'"),
        ("", "''"),
        ("it's", "'it''s'"),
        ('$(Remove-Item x) `n " ; #', "'$(Remove-Item x) `n \" ; #'"),
        (
            "\u2019; evil \u2018",
            "('' + [char]::ConvertFromUtf32(0x2019) + '; evil ' + [char]::ConvertFromUtf32(0x2018))",
        ),
        ("köln", "('k' + [char]::ConvertFromUtf32(0x00F6) + 'ln')"),
    ],
)
def test_powershell_spellings(text: str, spelled: str) -> None:
    assert powershell.quoted(text) == spelled


@pytest.mark.parametrize("text", ["a\nb", "\0", "\r", "\x7f", "\x85", "\ud800"])
def test_powershell_takes_no_control_characters(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        powershell.quoted(text)


@given(configurations(), TABLES, HOLDS)
def test_the_windows_script_parses(config: Config, table: str, holds: dict[str, Why]) -> None:
    made = published(config, table, holds=holds, dns_servers={"ndb": ("192.0.2.53", "2001:db8::53")})
    for form in ("mx", "forward"):
        script = text_of(TARGETS["windows-dns"], made, form)
        assert script.isascii()
        assert script.count("\r\n") == script.count("\n")
        parsed(script.replace("\r\n", "\n"))


def test_the_windows_zones() -> None:
    config = configuration(network(closed=["kim.example"]), own=["city.example"])
    table = "a.zone.example esmtp:[192.0.2.1]\n.s.example esmtp:[192.0.2.2]\nu.v.s.example esmtp:[IPv6:2001:db8::1]\n"
    table += "n.example esmtp:[mx.n.example]\nx.example error:4.7.0:no\n"
    script = text_of(TARGETS["windows-dns"], published(config, table))
    found = re.search(r"\$Zones = @\(\r\n(.*?)\)\r\n", script, re.DOTALL)
    assert found
    zones = [line.strip().strip("'").split(" ", 2) for line in found[1].splitlines()]
    long = "ip-2001-0db8-0000-0000-0000-0000-0000-0001"
    assert {zone: records for zone, _, records in zones} == {
        "closedmail.invalid": f"ip-192-0-2-1 A 192.0.2.1;ip-192-0-2-2 A 192.0.2.2;{long} AAAA 2001:db8::1",
        "kim.example": "",
        "s.example": "* MX 10 ip-192-0-2-2.closedmail.invalid.",
        "a.zone.example": "@ MX 10 ip-192-0-2-1.closedmail.invalid.",
        "u.v.s.example": f"@ MX 10 {long}.closedmail.invalid.;* MX 10 ip-192-0-2-2.closedmail.invalid.",
        "n.example": "@ MX 10 held.closedmail.invalid.",
        "x.example": "@ MX 10 held.closedmail.invalid.",
    }
    assert all(re.fullmatch(r"closedmail-[0-9a-f]{24}\.dns", file) for _, file, _ in zones)
    assert (
        "a host of the route is a name in one of these zones, without an address: left out (1 domain): n.example"
        in (re.sub(r"\r\n#   ", " ", script))
    )


# Policy zones, by the rules for wildcards (RFC 4592)


def in_zone(records: dict[str, str], name: str) -> str | None:
    """What a zone has for a name, None where it has nothing to say."""
    if name in records:
        return records[name]
    nodes = {above for owner in records for above in (owner, *parents(owner))}
    if name in nodes:
        return None
    encloser = next((above for above in parents(name) if above in nodes), "")
    return records.get(f"*.{encloser}")


@given(configurations(), TABLES, HOLDS, st.lists(NAMES, max_size=6))
def test_the_policy_zone_says_what_the_rows_say(
    config: Config, table: str, holds: dict[str, Why], more: list[str]
) -> None:
    """For keys, and for whatever lies above, below and beside them: no name falls through to the public MX."""
    made = published(config, table, holds=holds)
    rows = dict(dns.answers(made))
    found = dns.survey(made)
    records: dict[str, str] = {}
    for line in texts_of(TARGETS["bind"], made)["closedmail.rpz"].splitlines():
        fields = line.split()
        if not line.startswith((";", "$", "@")) and not fields[0].endswith(".invalid"):
            records[fields[0]] = records.get(fields[0], "") + " ".join(fields[3:]) + ";"
    probes = {key.removeprefix(".") for key in rows} | {*more} | found.targets
    probes |= {"q." + name for name in probes} | {"q.r." + name for name in probes}
    for name in sorted(probes - found.hosts.keys()):
        key = next((key for key in (name, *("." + parent for parent in parents(name))) if key in rows), None)
        answer = rows[key] if key else None
        told = in_zone(records, name)
        if answer is None:
            assert told in (None, "CNAME rpz-passthru.;"), name
        else:
            expected = [f"MX {preference} {target}.;" for preference, target in answer]
            assert told, name
            assert told == "".join(expected) or f" {dns.HELD}.;" in told or len(told) < len("".join(expected)), name


# Senders' rows, by Postfix's rules (access(5))


def looked_up(rows: dict[str, str], domain: str, *, dotted: bool) -> str:
    """What check_sender_access finds for a sender: its address, its domain, parents; with or without dots."""
    for key in ("@" + domain, domain, *(("." if dotted else "") + parent for parent in parents(domain))):
        if key in rows:
            return rows[key]
    return NOT_OURS


@given(configurations(), TABLES, st.booleans(), st.booleans(), st.lists(NAMES, max_size=6))
def test_the_rows_of_senders_find_the_decisions_rule(
    config: Config, table: str, dotted: bool, subdomains: bool, more: list[str]
) -> None:
    if subdomains:
        inbound = Inbound("enforce", subdomains=True)
        partners = [*config.partners, Partner("b.zone.example", inbound, network="ndb")]
        config = configuration(*config.networks, partners=partners[-1:], own=config.gateway.own_domains)
    made = published(config, table)
    book = _Book(made)

    def action(match: Match) -> str:
        return match.rule.table

    listed = list(sender_rows(made, action, Notes()))
    rows = dict(listed)
    assert len(rows) == len(listed)
    probes = {key.lstrip(".@") for key in rows if key.isascii()} | {*more}
    probes |= {"q." + name for name in probes} | {"q.r." + name for name in probes}
    for name in sorted(probes):
        match = find_partner(name, book)
        own = book.own.covers(name) and not (match and match.rule.partner and book.own.covers(match.key))
        expected = action(match) if match and not own else NOT_OURS
        assert looked_up(rows, name, dotted=dotted) == expected, name
