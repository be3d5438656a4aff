"""Changes of modes and groups that root must not make: below a folder that another user may write, a link may stand
in the place.

Its owner makes them there. What lies below map_dir is repaired by sync, which runs as the owner.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from closedmail.core.model import Config
from closedmail.doctor.finding import Finding, Fix, Program
from closedmail.folders import changeable_folder
from closedmail.mta.sendmail_cf import DEFAULT_CF

# Debian gives /etc/mail to smmta. Sendmail, as root, obeys the sendmail.cf in it: its owner has root's trust already.
_TRUSTED = Path(DEFAULT_CF).parent


def why_not(path: str) -> str:
    """Say why root changes no mode of a path, "" where it may."""
    try:
        folder = changeable_folder(Path(path), _TRUSTED)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return f"{folder} may be written by others than root" if folder else ""


def safe_fixes(config: Config, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Replace each chmod that root must not run: by sync for maps, or by a sentence that says who has to run it."""
    for finding in findings:
        fixes: list[Fix] = []
        text = finding.text
        for fix in finding.fixes:
            reason = why_not(fix.target) if fix.program in (Program.CHMOD, Program.CHGRP) else ""
            if not reason:
                fixes.append(fix)
            elif _is_map(config, fix.target):
                fixes.append(Fix.closedmail(config, "sync"))
            else:
                text += f"; as its owner, run: {fix} (not as root: {reason})"
        yield replace(finding, text=text, fixes=tuple(dict.fromkeys(fixes)))


def _is_map(config: Config, path: str) -> bool:
    """Tell whether sync sees to the mode of a path: map_dir, what is in it, and folders between state_dir and it."""
    state = config.gateway.state_dir.rstrip("/")
    for maps in (config.postfix, config.sendmail):
        folder = maps.map_dir.rstrip("/") if maps else ""
        if folder and (path == folder or str(Path(path).parent) == folder):
            return True
        if folder and path.startswith(f"{state}/") and f"{folder}/".startswith(f"{path}/"):
            return True
    return False
