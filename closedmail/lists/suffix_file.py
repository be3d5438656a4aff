"""Read the Public Suffix List: that of Debian's `publicsuffix` package, else our own dated copy."""

import hashlib
from importlib import resources
from pathlib import Path

from closedmail.core.suffixes import PublicSuffixes

SYSTEM_FILE = Path("/usr/share/publicsuffix/public_suffix_list.dat")


def load_suffixes(system_file: Path = SYSTEM_FILE) -> tuple[PublicSuffixes, str]:
    """Load the list, with a digest of its file. Our copy is used where the system's can't be read or parsed."""
    try:
        text = system_file.read_text(encoding="utf-8")
        return PublicSuffixes(text), _digest(text)
    except (OSError, ValueError):
        text = resources.files("closedmail").joinpath("data/public_suffix_list.dat").read_text(encoding="utf-8")
        return PublicSuffixes(text), _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
