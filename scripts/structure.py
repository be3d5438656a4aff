"""The structure of the package, measured by its imports alone: rooms, arrows, sizes and two walks.

`scripts/structure` prints it beside the aims of docs/design.md and exits 1 where one is missed. Nothing of the package
is imported or run. tests/test_architecture.py asks the same questions.
"""

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "closedmail"
# From the ground up: a room imports of ours nothing but itself and what stands before it.
ROOMS = """
    __init__ errors words folders files programs owner core mailertable routes inbound generation maps store mta config
    lists publish daemon policyd milter sync exports status explain compare probe replay report doctor demo cli __main__
""".split()  # noqa: SIM905, it is read as a page
LONGEST_MODULE = 300  # lines
LARGEST_ROOM = 15  # per cent of all lines
MOST_IN_CORE = 12  # files
# A walk: what stands on any way of imports between two modules. The other checks are not on the way of one finding.
FINDING_WALK = 12
LINE_WALK = 30


def module_of(path: Path) -> str:
    """A file's module without the package's name: `core.domain`; the package itself is `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def room_of(module: str) -> str:
    """The first part of a module's name."""
    return module.partition(".")[0]


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_names(path: Path) -> Iterator[str]:
    """Every module that a file imports, by its whole name, `from package import module` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{item.name}" for item in node.names)


def our_imports(path: Path) -> set[str]:
    """The modules of ours that a file imports."""
    found = set()
    for name in imported_names(path):
        ours = name.removeprefix("closedmail.")
        if ours != name and ours in MODULES:
            found.add(ours)
        elif name == "closedmail.__version__":
            found.add("__init__")
    return {module for module in found if not any(other.startswith(module + ".") for other in found)}


GRAPH = {module: our_imports(path) for module, path in MODULES.items()}


@cache
def reachable(module: str) -> frozenset[str]:
    """A module and all that it imports, directly or not."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        now = waiting.pop()
        if now not in found:
            found.add(now)
            waiting += GRAPH[now]
    return frozenset(found)


def arrows_upwards() -> list[str]:
    """Imports of a room above, or of one that is not in `ROOMS`."""
    return sorted(
        f"{module} -> {other}"
        for module, others in GRAPH.items()
        for other in others
        if room_of(module) not in ROOMS
        or room_of(other) not in ROOMS
        or ROOMS.index(room_of(other)) > ROOMS.index(room_of(module))
    )


def circles() -> list[str]:
    """Modules that import themselves by way of others."""
    return sorted(module for module, others in GRAPH.items() if any(module in reachable(other) for other in others))


def lines(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def room_shares() -> dict[str, float]:
    """Each room's share of all lines, in per cent, the largest first."""
    sizes: Counter[str] = Counter()
    for module, path in MODULES.items():
        sizes[room_of(module)] += lines(path)
    return {room: 100 * size / sizes.total() for room, size in sizes.most_common()}


def long_modules() -> dict[str, int]:
    """Modules over the limit, with their lines."""
    return {module: size for module, path in MODULES.items() if (size := lines(path)) > LONGEST_MODULE}


def several(names: dict[str, list[str]]) -> list[str]:
    """Names that stand in several places, with the places."""
    return [f"{name}: {', '.join(places)}" for name, places in sorted(names.items()) if len(places) > 1]


def file_names() -> list[str]:
    """File names that stand in several folders."""
    found = defaultdict(list)
    for module, path in MODULES.items():
        if path.stem != "__init__":
            found[path.name].append(module)
    return several(found)


def class_names() -> list[str]:
    """Class names that mean several things."""
    found = defaultdict(list)
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(module)
    return several(found)


def walk(start: str, end: str, without: Set[str] = frozenset()) -> set[str]:
    """What stands on any way of imports from one module to another."""
    return {module for module in reachable(start) if end in reachable(module)} - without


def finding_walk() -> set[str]:
    """The longest walk of one finding: from the command to the check, what runs the fix, and what asks postconf."""
    checks = {module for module in MODULES if module.startswith("doctor.checks.")}
    found: set[str] = set()
    for check in sorted(checks):
        others = {other for other in checks - {check} if other not in reachable(check)}
        way = walk("cli.doctor_command", check, others) | walk("cli.doctor_command", "mta.postconf", others)
        way |= {module for module in reachable(check) if room_of(module) in ("doctor", "mta")}
        found = max(found, way, key=len)
    return found


def line_walk() -> set[str]:
    """From the run that reads a list to the grammar of its lines, and so to the rows that are made of them."""
    return {module for module in walk("sync.run", "mailertable.grammar") if room_of(module) != "config"}


def main() -> int:
    """Print every measure beside its aim; 1 where one is missed."""
    shares = room_shares()
    core = [module for module in MODULES if room_of(module) == "core" and module != "core"]
    largest = next(iter(shares))
    longest, finding, line = long_modules(), finding_walk(), line_walk()
    measures = [
        ("arrows upwards", len(arrows_upwards()), 0, arrows_upwards()),
        ("modules in a circle", len(circles()), 0, circles()),
        (f"largest room (per cent), {largest}", round(shares[largest], 1), LARGEST_ROOM, []),
        (f"modules over {LONGEST_MODULE} lines", len(longest), 0, [f"{name} {size}" for name, size in longest.items()]),
        ("files in core", len(core), MOST_IN_CORE, []),
        ("file names in several folders", len(file_names()), 0, file_names()),
        ("class names with several meanings", len(class_names()), 0, class_names()),
        ("files from postconf to a fix", len(finding), FINDING_WALK, sorted(finding)),
        ("files from a line to its row", len(line), LINE_WALK, sorted(line)),
    ]
    print(f"{len(MODULES)} modules in {len(shares)} rooms")
    for room, share in shares.items():
        print(f"  {room:12} {share:5.1f} %")
    missed = 0
    for name, value, aim, detail in measures:
        print(f"{name}: {value} (at most {aim})")
        if value > aim:
            missed = 1
            print("".join(f"    {item}\n" for item in detail), end="")
    return missed


if __name__ == "__main__":
    sys.exit(main())
