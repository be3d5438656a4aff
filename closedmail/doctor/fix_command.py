"""Running one command of a finding: what it will change is written down first. Never through a shell."""

import shlex
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail import programs
from closedmail.doctor.setup_record import SetupRecord, Step
from closedmail.errors import ClosedmailError

FILES = ("main.cf", "master.cf")
_TIME_LIMIT = 120  # seconds
_SYNC_LIMIT = 3600


def apply_command(command: str, finding: str, config_directory: str, record: SetupRecord) -> bool:
    """Run it; whether Postfix's configuration was changed. Raises ClosedmailError when it fails."""
    words = shlex.split(command)
    step = Step(finding, command)
    if words[0] == "closedmail":
        run([sys.executable, "-m", *words], limit=_SYNC_LIMIT, quiet=False)
        return False
    if words[0] == "postconf":
        step.files = predict(words, config_directory)
        if not step.files:
            return False
    elif words[0] == "chmod":
        step.modes = {words[-1]: [Path(words[-1]).stat().st_mode & 0o7777]}
    elif words[:2] == ["systemctl", "enable"]:
        step.units = {words[-1]: [_systemctl("is-active", words[-1]), _systemctl("is-enabled", words[-1])]}
    elif words[:2] != ["systemctl", "restart"]:
        raise ClosedmailError(f"{command}: setup does not run such commands")
    record.add(step)
    run(words)
    for path in step.files:
        step.files[path][1] = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    for path, modes in step.modes.items():
        modes.append(Path(path).stat().st_mode & 0o7777)
    record.save()
    return bool(step.files)


def predict(words: list[str], config_directory: str) -> dict[str, list[str]]:
    """What a postconf command will make of main.cf and master.cf: run on copies. Raises ClosedmailError."""
    arguments = words[3:] if words[1] == "-c" else words[1:]
    found = {}
    with TemporaryDirectory(prefix="closedmail-") as folder:
        for name in FILES:
            # With its time: postconf waits for a file that is new.
            shutil.copy2(Path(config_directory) / name, Path(folder) / name)
        run(["postconf", "-c", folder, *arguments])
        for name in FILES:
            path = Path(config_directory) / name
            before, after = (
                each.read_text(encoding="utf-8", errors="surrogateescape") for each in (path, Path(folder) / name)
            )
            if before != after:
                found[str(path)] = [before, after]
    return found


def run(words: list[str], *, limit: int = _TIME_LIMIT, quiet: bool = True) -> None:
    """Run a command; what it says goes to the terminal unless `quiet`. Raises ProgramError when it fails."""
    programs.run(words, time_limit=limit, quiet=quiet, env=programs.environment())


def _systemctl(question: str, unit: str) -> bool:
    done = programs.run(["systemctl", question, "--quiet", unit], time_limit=_TIME_LIMIT, accepted=None)
    return done.status == 0
