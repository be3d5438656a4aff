"""Parse sendmail.cf as far as a gateway is judged by it: maps, options, milters, classes, macros, mailers, rules.

Source: doc/op/op.me of Sendmail, "THE WHOLE SCOOP ON THE CONFIGURATION FILE": each line is a command by its first
character, a line that begins with white space continues the one before, a `#` in front is a comment. Of settings that
are made twice the last one counts; classes grow.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from closedmail.core.where import parse_libmilter

DEFAULT_CF = "/etc/mail/sendmail.cf"
# A class's words may name another class or a macro: `CR$={VirtHost}`, `Cw$j`.
_REFERENCE = re.compile(r"\$=(?:\{(\w+)\}|(\w))")
_MACRO = re.compile(r"\$&?(?:\{(\w+)\}|(\w))")
_NAME = re.compile(r"\{([^}]*)\}|(.)")


@dataclass(frozen=True, slots=True)
class KeyedMap:
    """A K line. `flags` are its options with their values (`-T<TMPF>`), `arguments` all else.

    These are a file's path, or, for a sequence, the names of other maps.
    """

    name: str
    type: str
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The file, without the `.db` that Sendmail adds where it is missing."""
        return self.arguments[0].removesuffix(".db") if self.arguments else ""

    @property
    def forgives(self) -> str:
        """The flag with which a missing map is taken for an empty one (`-o`, `-t`), "" without."""
        return next((flag for flag in self.flags if flag in ("-o", "-t")), "")


@dataclass(frozen=True, slots=True)
class MailFilter:
    """An X line. `where` is its socket as closedmail writes it (`unix:PATH`, `inet:HOST:PORT`), `flag` its F=."""

    name: str
    where: str
    flag: str = ""


@dataclass(frozen=True, slots=True)
class ClassFile:
    """An F line: words of a class that are in a file. With `comments`, text after a `#` is ignored."""

    path: str
    comments: bool = False


@dataclass(slots=True)
class SendmailCf:
    """A sendmail.cf. Names of options are lower case; classes of one character have no braces.

    `rules` are by rule set, without their R; `daemons` are DaemonPortOptions by the first letter of each key, as
    Sendmail distinguishes them.
    """

    maps: dict[str, KeyedMap] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    daemons: list[dict[str, str]] = field(default_factory=list)
    filters: dict[str, MailFilter] = field(default_factory=dict)
    classes: dict[str, list[str]] = field(default_factory=dict)
    class_files: dict[str, list[ClassFile]] = field(default_factory=dict)
    macros: dict[str, str] = field(default_factory=dict)
    mailers: set[str] = field(default_factory=set)
    rules: dict[str, list[str]] = field(default_factory=dict)

    def option(self, name: str) -> str:
        """Return an option's value, "" where it is not set."""
        return self.options.get(name.lower(), "")

    def files(self, name: str) -> list[KeyedMap]:
        """List the maps of files that one name stands for: itself, or those of its sequence, in their order."""
        return list(self._files(name, frozenset()))

    def has_rule(self, text: str, *rule_sets: str) -> bool:
        """Check whether a text occurs in a rule of these rule sets; of any without names."""
        names = rule_sets or tuple(self.rules)
        return any(text in rule for name in names for rule in self.rules.get(name, ()))

    def words(self, name: str) -> list[str]:
        """Collect the words of a class that are in the file itself, with those of classes that it names."""
        return list(dict.fromkeys(self._words(name, frozenset())))

    def files_of_class(self, name: str) -> list[ClassFile]:
        """List the files with more words of a class, and of classes that it names."""
        names = [name, *(other for other in self._named(name, frozenset({name})))]
        return [file for each in names for file in self.class_files.get(each, ())]

    def _files(self, name: str, seen: frozenset[str]) -> Iterator[KeyedMap]:
        found = self.maps.get(name)
        if found is None or name in seen:
            return
        if found.type == "sequence":
            for part in found.arguments:
                yield from self._files(part, seen | {name})
        else:
            yield found

    def _named(self, name: str, seen: frozenset[str]) -> Iterator[str]:
        for word in self.classes.get(name, ()):
            found = _REFERENCE.fullmatch(word)
            other = found and (found[1] or found[2])
            if other and other not in seen:
                yield other
                yield from self._named(other, seen | {other})

    def _words(self, name: str, seen: frozenset[str]) -> Iterator[str]:
        for word in self.classes.get(name, ()):
            found = _REFERENCE.fullmatch(word)
            if found:
                other = found[1] or found[2]
                if other not in seen and other != name:
                    yield from self._words(other, seen | {name})
            elif expanded := self._expand(word):
                yield expanded

    def _expand(self, word: str) -> str:
        """Expand the macros of a word; "" where the file does not define one."""
        names = [found[1] or found[2] for found in _MACRO.finditer(word)]
        if not all(name in self.macros for name in names):
            return ""
        expanded = _MACRO.sub(lambda found: self.macros[found[1] or found[2]], word)
        return "" if "$" in expanded else expanded


def parse_cf(text: str) -> SendmailCf:
    """Parse a sendmail.cf; lines that are unknown, or can't be parsed, are ignored."""
    cf, rule_set = SendmailCf(), ""
    for line in _lines(text):
        command, rest = line[0], line[1:].strip()
        if command == "S":
            rule_set = re.split(r"[=\s]", rest, maxsplit=1)[0]
        elif command == "R":
            cf.rules.setdefault(rule_set, []).append(rest)
        elif rest:
            _read(cf, command, rest)
    return cf


def _lines(text: str) -> Iterator[str]:
    line = ""
    for raw in text.split("\n"):
        if raw[:1] in (" ", "\t") and line:
            line += " " + raw.strip()
        else:
            if line and line[0] != "#":
                yield line
            line = raw.rstrip()
    if line and line[0] != "#":
        yield line


def _read(cf: SendmailCf, command: str, rest: str) -> None:
    if command == "K":
        words = rest.split()
        flags = tuple(word for word in words[2:] if word.startswith("-"))
        if len(words) > 1:
            arguments = tuple(word for word in words[2:] if not word.startswith("-"))
            cf.maps[words[0]] = KeyedMap(words[0], words[1].lower(), flags, arguments)
    elif command == "O":
        name, _, value = rest.partition("=")
        cf.options[name.strip().lower()] = value.strip()
        if name.strip().lower() == "daemonportoptions":
            cf.daemons.append({key[:1].upper(): value for key, value in _equates(value)})
    elif command == "X":
        name, equates = _name_and_equates(rest)
        cf.filters[name] = MailFilter(name, parse_libmilter(equates.get("S", "")), equates.get("F", ""))
    elif command == "M":
        cf.mailers.add(rest.partition(",")[0].strip())
    elif command in "CFD":
        found = _NAME.match(rest)
        if found:
            _assign(cf, command, found[1] if found[1] is not None else found[2], rest[found.end() :].strip())


def _assign(cf: SendmailCf, command: str, name: str, value: str) -> None:
    if command == "D":
        cf.macros[name] = value
    elif command == "C":
        cf.classes.setdefault(name, []).extend(value.split())
    elif found := re.fullmatch(r"(?:-o\s+)?(/\S*)(?:\s+(.*))?", value):
        cf.class_files.setdefault(name, []).append(ClassFile(found[1], "#" in (found[2] or "")))


def _name_and_equates(text: str) -> tuple[str, Mapping[str, str]]:
    name, _, rest = text.partition(",")
    return name.strip(), {key[:1].upper(): value for key, value in _equates(rest)}


def _equates(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key.strip():
            yield key.strip(), value.strip()
