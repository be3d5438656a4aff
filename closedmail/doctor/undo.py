"""`closedmail setup --undo`: take back what setup did; what somebody has changed since stays, and is named."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail.doctor.fix_command import run
from closedmail.doctor.setup_record import SetupRecord, SetupStep
from closedmail.errors import ClosedmailError
from closedmail.files import replace_file
from closedmail.mta.config_text import entries, marks, take_back
from closedmail.mta.postconf import run_postfix


def undo(record: SetupRecord) -> Iterator[str]:
    """Take all steps back, the newest first; a sentence for each thing done or left alone. Raises ClosedmailError."""
    paths = dict.fromkeys(path for step in record.steps for path in step.files)
    for path in paths:
        yield from _undo_file(Path(path), [step.files[path] for step in record.steps if path in step.files])
    for step in reversed(record.steps):
        yield from _undo_modes(step)
        yield from _undo_units(step)
    record.remove()


def _undo_file(path: Path, changes: list[list[str]]) -> Iterator[str]:
    current = path.read_text(encoding="utf-8", errors="surrogateescape")
    text, changed = _former(current, changes, master=path.name == "master.cf")
    if text != current:
        found = path.stat()
        owner = found.st_uid, found.st_gid
        replace_file(path, [text.encode("utf-8", "surrogateescape")], found.st_mode & 0o7777, owner)
        yield f"{path}: taken back"
    yield from (f"{path}: {key} was changed since setup, and is left as it is" for key in changed)


def _former(current: str, changes: list[list[str]], *, master: bool) -> tuple[str, list[str]]:
    """Return the text without the changes, and the keys that somebody else has changed."""
    # A killed setup, or a killed undo, has left it as it was before one of them.
    for number, (before, _) in enumerate(changes):
        if current == before:
            changes = changes[:number]
            break
    earlier = frozenset[str]().union(*(marks(before, master=master) for before, _ in changes))
    changed: dict[str, None] = {}
    for before, after in reversed(changes):
        if current == after:
            current = before
            continue
        taken = take_back(current, before, after, master=master, earlier=earlier)
        current, left = taken.text, taken.changed
        if master and left:
            current, left = _take_options_back(current, before, after, left)
        changed.update(dict.fromkeys(left))
    return current, list(changed)


def _take_options_back(current: str, before: str, after: str, keys: list[str]) -> tuple[str, list[str]]:
    """Take back the -o settings that are still as setup made them, in entries of master.cf that were changed since."""
    old, new, now = _options(before), _options(after), _options(current)
    everywhere = set.intersection(
        *({key for key, _ in entries(text, master=True)} for text in (current, before, after))
    )
    left, commands = [], []
    for key in keys:
        names = [name for name in {**old, **new} if name.startswith(f"{key}/") and old.get(name) != new.get(name)]
        if key not in everywhere or not names:
            left.append(key)
            continue
        for name in names:
            wanted = old.get(name)
            if now.get(name) == wanted:
                continue
            if now.get(name) != new.get(name) or (wanted is not None and len(wanted.split()) > 1):
                left.append(name)
            elif wanted is None:
                commands.append(["-PX", name])
            else:
                commands.append(["-P", f"{name}={wanted}"])
    with TemporaryDirectory(prefix="closedmail-") as folder:
        master = _write(Path(folder), current)
        for arguments in commands:
            run(["postconf", "-c", folder, *arguments])
        return master.read_text(encoding="utf-8", errors="surrogateescape"), left


def _options(text: str) -> dict[str, str]:
    with TemporaryDirectory(prefix="closedmail-") as folder:
        _write(Path(folder), text)
        lines = run_postfix("postconf", "-c", folder, "-P").splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


def _write(folder: Path, text: str) -> Path:
    main, master = folder / "main.cf", folder / "master.cf"
    main.touch()
    os.utime(main, (0, 0))  # postconf waits for a file that is new
    master.write_text(text, encoding="utf-8", errors="surrogateescape")
    return master


def _undo_modes(step: SetupStep) -> Iterator[str]:
    for name, (before, *after) in step.modes.items():
        path = Path(name)
        if not path.exists():
            continue
        mode = path.stat().st_mode & 0o7777
        if mode == before:
            continue
        if after and mode != after[0]:
            yield f"{name}: its mode was changed since setup, and is left as it is"
        else:
            path.chmod(before)
            yield f"{name}: mode {before:04o} again"


def _undo_units(step: SetupStep) -> Iterator[str]:
    for unit, (active, enabled) in step.units.items():
        if not enabled:
            command = ["systemctl", "disable", *([] if active else ["--now"]), unit]
        elif not active:
            command = ["systemctl", "stop", unit]
        else:
            continue
        try:
            run(command)
        except ClosedmailError as error:
            yield f"{unit}: {error}"
        else:
            yield f"{unit}: {command[1]}d" if command[1] == "disable" else f"{unit}: stopped"
