"""Run one command of a finding, after what it will change has been written down. Never through a shell."""

import grp
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import assert_never

from closedmail import programs
from closedmail.doctor.chmod_fixes import why_not
from closedmail.doctor.finding import Fix, Program
from closedmail.doctor.setup_record import SetupRecord, SetupStep, file_text
from closedmail.errors import ClosedmailError
from closedmail.folders import set_group, set_mode

FILES = ("main.cf", "master.cf")
_TIME_LIMIT = 120  # seconds
_SYNC_LIMIT = 3600


def apply_fix(fix: Fix, finding: str, config_directory: str, record: SetupRecord) -> bool:
    """Run it; whether Postfix's configuration was changed. Raises ClosedmailError when it fails."""
    step = SetupStep(finding, str(fix))
    match fix.program:
        case Program.CLOSEDMAIL:
            run(programs.own_module(*fix.argv), limit=_SYNC_LIMIT, quiet=False)
            return False  # closedmail keeps its own history
        case Program.POSTCONF:
            step.files = predict(fix, config_directory)
            if not step.files:
                return False
        case Program.CHMOD:
            if reason := why_not(fix.target):  # it may have become so since doctor looked
                raise ClosedmailError(f"{fix}: root does not do that: {reason}")
            step.modes = {fix.target: [_mode(fix.target)]}
        case Program.CHGRP:
            if reason := why_not(fix.target):
                raise ClosedmailError(f"{fix}: root does not do that: {reason}")
        case Program.ENABLE:
            step.units = {fix.target: [_systemctl("is-active", fix.target), _systemctl("is-enabled", fix.target)]}
        case Program.RESTART:
            pass  # nothing to undo
        case _:
            assert_never(fix.program)
    record.add(step)
    if fix.program is Program.CHMOD:
        _change_mode(fix)
    elif fix.program is Program.CHGRP:
        _change_group(fix)
    else:
        run(list(fix.argv))
    for path in step.files:
        step.files[path][1] = file_text(Path(path))
    for path, modes in step.modes.items():
        modes.append(_mode(path))
    record.save()
    return bool(step.files)


def predict(fix: Fix, config_directory: str) -> dict[str, list[str]]:
    """Find what a postconf command will make of main.cf and master.cf, on copies. Raises ClosedmailError."""
    found = {}
    with TemporaryDirectory(prefix="closedmail-") as folder:
        for name in FILES:
            # With its time: postconf waits for a file that is new.
            shutil.copy2(Path(config_directory) / name, Path(folder) / name)
        run(["postconf", "-c", folder, *fix.arguments])
        for name in FILES:
            path = Path(config_directory) / name
            before, after = file_text(path), file_text(Path(folder) / name)
            if before != after:
                found[str(path)] = [before, after]
    return found


def _change_mode(fix: Fix) -> None:
    """Do what chmod would, without following a link that was put there since."""
    wanted = fix.arguments[0]
    try:
        set_mode(Path(fix.target), _mode(fix.target) | 0o001 if wanted == "o+x" else int(wanted, 8))
    except OSError as error:
        raise ClosedmailError(f"{fix}: {error.strerror}") from None


def _change_group(fix: Fix) -> None:
    """Do what chgrp would, likewise. It is not undone: the mode says what the group may, and that is."""
    try:
        set_group(Path(fix.target), grp.getgrnam(fix.arguments[0]).gr_gid)
    except KeyError:
        raise ClosedmailError(f"{fix}: there is no such group") from None
    except OSError as error:
        raise ClosedmailError(f"{fix}: {error.strerror}") from None


def _mode(path: str) -> int:
    return Path(path).stat().st_mode & 0o7777


def run(words: list[str], *, limit: int = _TIME_LIMIT, quiet: bool = True) -> None:
    """Run a command; what it says goes to the terminal unless `quiet`. Raises ProgramError when it fails."""
    programs.run(words, time_limit=limit, quiet=quiet, env=programs.environment())


def _systemctl(question: str, unit: str) -> bool:
    done = programs.run(["systemctl", question, "--quiet", unit], time_limit=_TIME_LIMIT, accepted=None)
    return done.status == 0
