"""Render `powerdns`: a Lua script for PowerDNS Recursor, or zones to forward.

Seen on PowerDNS Recursor 4.8: `preresolve` answers for one type, and every other one is resolved as before, below
suffixes, too. What it answers is not validated.
"""

from collections.abc import Iterator

from closedmail.exports import dns, forwarding, lua
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File

_SCRIPT, _ZONES = "closedmail.lua", "closedmail.zones"
_APPLYING = (
    "In recursor.conf: lua-dns-script={place}/closedmail.lua",
    "  rec_control reload-lua-script && rec_control wipe-cache .",
    'With a script of your own: load this one at its end, dofile("{place}/closedmail.lua"). It asks yours where it has '
    "no answer.",
)
_FORWARDING = (
    "In recursor.conf: forward-zones-file={place}/closedmail.zones and lua-config-file={place}/closedmail.lua",
    "  rec_control reload-zones && rec_control reload-lua-config && rec_control wipe-cache .",
)
_HOOK = f"""\
local before = preresolve
function preresolve(dq)
  local name = dq.qname:toString():lower():gsub("%.$", "")
  if name == "{dns.HELD}" then
    dq.rcode = 2  -- SERVFAIL: mail waits
    return true
  end
  if address[name] then
    local kind = address[name]:find(":", 1, true) and pdns.AAAA or pdns.A
    if dq.qtype == kind or dq.qtype == pdns.ANY then dq:addAnswer(kind, address[name], {dns.TTL}) end
    dq.rcode = 0
    return true
  end
  if dq.qtype == pdns.MX then
    local records = covering(name)
    if records and records ~= "-" then
      for record in records:gmatch("[^;]+") do dq:addAnswer(pdns.MX, record, {dns.TTL}) end
      dq.rcode = 0
      return true
    end
  end
  if before then return before(dq) end
  return false
end
"""


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """Render one file for `mx`, two for `forward`."""
    if request.form == "mx":
        applying = [line.replace("{place}", request.place) for line in _APPLYING]
        return [File(_SCRIPT, _script(published, applying))]
    notes = Notes()
    found = forwarding.zones(published, notes)
    for name, servers in found.items():
        if servers is None:
            notes.add("an own domain lies in a forwarded zone, and goes along: give it a line of its own", name)
    applying = [*(line.replace("{place}", request.place) for line in _FORWARDING), forwarding.TAKES_ALL]
    return [File(_ZONES, _zones(published, found, notes, applying)), File(_SCRIPT, _insecure(published, found))]


def _script(published: PublishedGeneration, applying: list[str]) -> Iterator[str]:
    found = dns.survey(published)
    yield from header("powerdns", published, found.notes, applying, "-- ")
    yield from lua.TABLES.splitlines()
    yield from lua.records(published, found)
    yield from _HOOK.splitlines()


def _zones(
    published: PublishedGeneration, found: dict[str, forwarding.Servers], notes: Notes, applying: list[str]
) -> Iterator[str]:
    yield from header("powerdns", published, notes, applying)
    for name, servers in found.items():
        if servers is not None:
            # "+": with the RD bit, which servers of both kinds take.
            yield f"+{name}={', '.join(servers or ('127.0.0.1:1',))}"


def _insecure(published: PublishedGeneration, found: dict[str, forwarding.Servers]) -> Iterator[str]:
    yield from header("powerdns", published, Notes(), ["Private zones are insecure: no validation."], "-- ")
    for name in forwarding.private_names(found):
        yield f'addNTA("{lua.escaped(name)}", "closedmail")'
