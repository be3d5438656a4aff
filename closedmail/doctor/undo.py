"""`closedmail setup --undo`: undo what setup did; what somebody has changed since stays, and is named."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail.doctor.chmod_fixes import why_not
from closedmail.doctor.fix_command import run
from closedmail.doctor.queue_hold import FILES, going_tables, hold_again, hold_mail
from closedmail.doctor.setup_record import SetupRecord, SetupStep, file_text
from closedmail.errors import ClosedmailError
from closedmail.files import replace_file
from closedmail.folders import set_mode
from closedmail.mta.config_text import entries, marks, take_back
from closedmail.mta.postconf import run_postfix


def undo(record: SetupRecord, *, release_queue: bool = False) -> Iterator[str]:
    """Undo all steps, the newest first; a sentence for each thing done or left alone. Raises ClosedmailError.

    Partners' mail that waits is put on hold first, unless `release_queue`: it would leave by the Internet at once.
    """
    files = {Path(path): [step.files[path] for step in record.steps if path in step.files] for path in _paths(record)}
    former = {
        path: _former(file_text(path), changes, master=path.name == "master.cf") for path, changes in files.items()
    }
    tables = {folder: _going(folder, files, former) for folder in dict.fromkeys(path.parent for path in files)}
    for folder, going in tables.items():
        yield from hold_mail(folder, going, release=release_queue)
    for path, (text, changed) in former.items():
        yield from _restore(path, text, changed)
    for step in reversed(record.steps):
        yield from _undo_modes(step)
        yield from _undo_units(step)
    for folder, going in tables.items():
        if not release_queue:
            # What has come since the first look. Until it is reloaded, Postfix's queue manager goes by the old tables.
            yield from hold_again(folder, going, release=False, known=True)
        yield reload_postfix(str(folder))
    record.remove()


def reload_postfix(config_directory: str) -> str:
    """Have a running Postfix read its configuration; return a sentence about that. Raises ClosedmailError."""
    try:
        run(["postfix", "-c", config_directory, "status"])
    except ClosedmailError:
        return "Postfix is not running; it reads the new configuration when it is started."
    run(["postfix", "-c", config_directory, "reload"])
    return "Postfix was reloaded and has read the new configuration."


def _paths(record: SetupRecord) -> dict[str, None]:
    return dict.fromkeys(path for step in record.steps for path in step.files)


def _going(folder: Path, files: dict[Path, list[list[str]]], former: dict[Path, tuple[str, list[str]]]) -> list[str]:
    """Find the transport tables that go: those of the files as setup left them count, too.

    So it is the same for an undo that was killed after it had restored them.
    """
    now = {name: file_text(folder / name) for name in FILES}
    after = {name: former[folder / name][0] if folder / name in former else text for name, text in now.items()}
    wired = {name: files[folder / name][-1][1] if folder / name in files else text for name, text in now.items()}
    return list(dict.fromkeys([*going_tables(now, after), *going_tables(wired, after)]))


def _restore(path: Path, text: str, changed: list[str]) -> Iterator[str]:
    if text != file_text(path):
        found = path.stat()
        owner = found.st_uid, found.st_gid
        replace_file(path, [text.encode("utf-8", "surrogateescape")], found.st_mode & 0o7777, owner)
        yield f"{path}: restored"
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
            current, left = _undo_options(current, before, after, left)
        changed.update(dict.fromkeys(left))
    return current, list(changed)


def _undo_options(current: str, before: str, after: str, keys: list[str]) -> tuple[str, list[str]]:
    """Undo the -o settings that are still as setup made them, in entries of master.cf that were changed since."""
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
        return file_text(master), left


def _options(text: str) -> dict[str, str]:
    with TemporaryDirectory(prefix="closedmail-") as folder:
        _write(Path(folder), text)
        lines = run_postfix("postconf", "-c", folder, "-P").splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


def _write(folder: Path, text: str) -> Path:
    main, master = folder / "main.cf", folder / "master.cf"
    main.touch()
    os.utime(main, (0, 0))  # postconf waits for a file that is new
    master.write_bytes(text.encode("utf-8", "surrogateescape"))
    return master


def _undo_modes(step: SetupStep) -> Iterator[str]:
    for name, (before, *after) in step.modes.items():
        path = Path(name)
        if reason := why_not(name):
            yield f"{name}: its mode is left as it is: {reason}"
            continue
        if not path.exists():
            continue
        mode = path.stat().st_mode & 0o7777
        if mode == before:
            continue
        if after and mode != after[0]:
            yield f"{name}: its mode was changed since setup, and is left as it is"
            continue
        try:
            set_mode(path, before)
            yield f"{name}: mode {before:04o} again"
        except OSError as error:
            yield f"{name}: its mode is left as it is: {error.strerror}"


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
