"""Write Lua for PowerDNS Recursor and Knot Resolver: quoted text, and tables too large for a constructor.

A Lua function holds some 65,000 constants at most, so that a table of 100,000 names is read from strings of many lines.
"""

from collections.abc import Iterable, Iterator

from closedmail.exports import dns
from closedmail.exports.dns import Answer, Survey
from closedmail.exports.published_generation import PublishedGeneration

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-:;,")
_LINES = 500  # a string


def escaped(text: str) -> str:
    """Escape text for a Lua string: all but plain characters as `\\ddd` by bytes (Lua 5.1 manual, 2.1)."""
    return "".join(
        char if char in _PLAIN else "".join(f"\\{byte:03}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in text
    )


def calls(function: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield calls of a Lua function, each with a string of lines `key value`."""
    count = 0
    for key, value in rows:
        if count % _LINES == 0:
            if count:
                yield '")'
            yield f'{function}("\\'
        count += 1
        yield f"{escaped(key)} {escaped(value)}\\"  # a backslash at a line's end is the line end itself
    if count:
        yield '")'


# What both servers' scripts begin with: the tables, and the key that stands for a name, as in a mailertable.
TABLES = """\
local mx, address = {}, {}
local function reader(into)
  return function (text)
    for key, value in text:gmatch("([^ \\n]+) ([^\\n]*)\\n") do into[key] = value end
  end
end
local read_mx, read_address = reader(mx), reader(address)
local function covering(name)
  if mx[name] then return mx[name] end
  local dot = name:find(".", 1, true)
  while dot do
    local found = mx[name:sub(dot)]
    if found then return found end
    dot = name:find(".", dot + 1, true)
  end
end
"""


def records(published: PublishedGeneration, found: Survey) -> Iterator[str]:
    """Yield the tables' contents: MX records between semicolons, `-` for names that are left alone; made names."""
    yield from calls("read_mx", ((key, _value(answer)) for key, answer in dns.answers(published)))
    yield from calls("read_address", found.names())


def _value(answer: Answer) -> str:
    if answer is None:
        return "-"
    return ";".join(f"{preference} {target}." for preference, target in answer)
