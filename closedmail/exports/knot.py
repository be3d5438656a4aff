"""Render `knot`: Lua for Knot Resolver.

Seen on Knot Resolver 5.6: `policy.ANSWER` gives one type and passes the others on, below suffixes, too. Rules of its
`policy` module are tried one after the other, so that all names are in one rule, a function with a table.
"""

from collections.abc import Iterator

from closedmail.exports import dns, forwarding, lua
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File

_APPLYING = (
    "In kresd.conf, before all other policy rules: dofile('/etc/knot-resolver/closedmail.lua')",
    "  systemctl restart 'kresd@*'",
    "MX records given here are not signed: Knot Resolver does not validate them, and DANE does not count for them.",
)
_RULE = f"""\
local known = {{}}
local function mx_action(records)
  if not known[records] then
    local rdata = {{}}
    for record in records:gmatch("[^;]+") do table.insert(rdata, "MX " .. record) end
    known[records] = policy.ANSWER({{ [kres.type.MX] = {{ rdata = kres.parse_rdata(rdata), ttl = {dns.TTL} }} }})
  end
  return known[records]
end
policy.add(function (_, query)
  local name = kres.dname2str(query:name()):lower():gsub("%.$", "")
  if name == "{dns.HELD}" then return policy.REFUSE end  -- mail waits
  if address[name] then
    local kind = address[name]:find(":", 1, true) and kres.type.AAAA or kres.type.A
    return policy.ANSWER({{ [kind] = {{ rdata = kres.str2ip(address[name]), ttl = {dns.TTL} }} }}, true)
  end
  if query.stype == kres.type.MX then
    local records = covering(name)
    if records and records ~= "-" then return mx_action(records) end
  end
end)
"""
_FORWARDER = """\
local action = {}
for servers in pairs(groups) do
  local list = {}
  for server in servers:gmatch("[^;]+") do table.insert(list, server) end
  action[servers] = policy.STUB(list)
end
policy.add(function (_, query)
  local name = kres.dname2str(query:name()):lower():gsub("%.$", "")
  while name do
    local servers = zone[name]
    if servers == "-" then return nil end
    if servers == "!" then return policy.REFUSE end
    if servers then return action[servers] end
    name = name:match("%.(.*)")
  end
end)
"""


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """Render one file."""
    return [File("", _forwarding(published) if request.form == "forward" else _mx(published))]


def _mx(published: PublishedGeneration) -> Iterator[str]:
    found = dns.survey(published)
    yield from header("knot", published, found.notes, _APPLYING, "-- ")
    yield "modules.load('policy')"
    yield from lua.TABLES.splitlines()
    yield from lua.records(published, found)
    yield from _RULE.splitlines()


def _forwarding(published: PublishedGeneration) -> Iterator[str]:
    notes = Notes()
    found = forwarding.zones(published, notes)
    yield from header("knot", published, notes, [*_APPLYING[:2], forwarding.TAKES_ALL], "-- ")
    yield "modules.load('policy')"
    yield "local zone, groups, private = {}, {}, {}"
    yield "local function read_zones(text)"
    yield '  for name, servers in text:gmatch("([^ \\n]+) ([^\\n]*)\\n") do'
    yield "    zone[name] = servers"
    yield '    if servers ~= "-" and servers ~= "!" then groups[servers] = true end'
    yield "  end"
    yield "end"
    yield "local function read_private(text)"
    yield '  for name in text:gmatch("([^ \\n]+) -\\n") do table.insert(private, name) end'
    yield "end"
    yield from lua.calls("read_zones", ((name, _servers(servers)) for name, servers in found.items()))
    yield from lua.calls("read_private", ((name, "-") for name in forwarding.private_names(found)))
    yield "trust_anchors.set_insecure(private)"
    yield from _FORWARDER.splitlines()


def _servers(servers: forwarding.Servers) -> str:
    if servers is None:
        return "-"
    return ";".join(servers) or "!"
