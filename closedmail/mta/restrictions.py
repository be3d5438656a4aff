"""Parse Postfix's restriction lists as smtpd(8) does: what is checked, in which order, and what ends it early.

Source: smtpd_check.c. Items are separated by commas and white space, braces keep what is in them together (mystrtokq,
since Postfix 3.0), names ignore case, and a name of `smtpd_restriction_classes` stands for its own list. `$name` is
expanded before (postconf -x).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

WARN = "warn_if_reject"
_SEPARATORS = ", \t\r\n"
# What takes an argument, beside check_…_access (smtpd_check.c, generic_checks).
_WITH_ARGUMENT = frozenset(
    ("check_policy_service", "sleep", "reject_rbl_client", "permit_dnswl_client", "permit_rhswl_client")
)


@dataclass(frozen=True, slots=True)
class Restriction:
    """One item of a list: its name in lower case (a table on its own keeps its case), and its argument.

    `only_warns` says that what it refuses is logged, and accepted (`warn_if_reject` stands before it, or before its
    class).
    """

    name: str
    argument: str = ""
    only_warns: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.argument}" if self.argument else self.name


@dataclass(frozen=True, slots=True)
class PolicyClient:
    """The argument of check_policy_service: where it asks, and what it was given (`timeout`, `default_action`, …)."""

    endpoint: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def split_list(value: str) -> list[str]:
    """Split a list of Postfix's into items; one in braces stays whole, with its braces."""
    items, depth, item = [], 0, ""
    for char in value:
        if depth == 0 and char in _SEPARATORS:
            if item:
                items.append(item)
            item = ""
            continue
        depth = max(0, depth + (char == "{") - (char == "}"))
        item += char
    if item:
        items.append(item)
    return items


def parse_restrictions(value: str) -> list[Restriction]:
    """Parse a list as written, classes by their names."""
    found, items = [], iter(split_list(value))
    for item in items:
        if _is_table(item):
            found.append(Restriction(item))
            continue
        name = item.lower()
        argument = next(items, "") if takes_argument(name) else ""
        # A class is known by its name as it is spelled.
        found.append(Restriction(name if _is_built_in(name) else item, argument))
    return found


def walk(
    value: str, classes: Mapping[str, str], within: frozenset[str] = frozenset(), *, only_warns: bool = False
) -> Iterator[Restriction]:
    """Yield all restrictions in the order in which smtpd evaluates them, those of classes in their place.

    A class `within` itself is skipped. `only_warns` is for all of the list.
    """
    warned = False
    for restriction in parse_restrictions(value):
        name = restriction.name
        if name not in classes:
            yield replace(restriction, only_warns=only_warns or warned)
        elif name not in within:
            yield from walk(classes[name], classes, within | {name}, only_warns=only_warns or warned)
        warned = name == WARN


def parse_policy_client(argument: str) -> PolicyClient:
    """Parse the argument of check_policy_service, in braces or not."""
    if not argument.startswith("{"):
        return PolicyClient(argument)
    items = split_list(_inside(argument))
    attributes = {}
    for item in items[1:]:
        name, equals, value = _inside(item).partition("=")
        if equals:
            attributes[name.strip()] = value.strip()
    return PolicyClient(items[0] if items else "", attributes)


def takes_argument(name: str) -> bool:
    """Check whether the next item belongs to this one."""
    return name in _WITH_ARGUMENT or bool(re.fullmatch(r"check_\w+_access|reject_rhsbl_\w+", name))


def table_of(restriction: Restriction) -> str:
    """Return the access table that it looks into, "" for none."""
    if _is_table(restriction.name):
        return restriction.name
    return restriction.argument if restriction.name.endswith("_access") else ""


def result_permits(result: str, classes: Mapping[str, str]) -> bool:
    """Check whether a result of an access table ends the list in the mail's favour (access(5)).

    OK does, a number alone, a permit, or a class that has one.
    """
    if result.strip().isdigit():
        return True
    first = next(walk(result, classes), Restriction(""))
    return first.name.lower() in ("ok", "relay") or any(
        item.name.lower().startswith("permit") for item in walk(result, classes)
    )


def _is_table(item: str) -> bool:
    """Check whether an item is a table: without a check_…_access in front it is one for the list that it is in."""
    return bool(re.match(r"[a-z0-9_]+:", item)) and not item.startswith("{")


def _is_built_in(name: str) -> bool:
    return name.startswith(("check_", "reject", "permit", "defer", "warn_if_reject", "sleep", "discard", "ok", "dunno"))


def _inside(item: str) -> str:
    """Return the text in braces, or the item itself."""
    return item[1:-1].strip() if item.startswith("{") and item.endswith("}") else item
