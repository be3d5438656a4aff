"""Define a gateway with Sendmail, as its checks see it: its configuration, its sendmail.cf, and its machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from closedmail.core.model import Config, SendmailMaps
from closedmail.core.partner_keys import PartnerKeys
from closedmail.core.rule import Rule
from closedmail.doctor.finding import Fix
from closedmail.mta.sendmail_cf import SendmailCf

SENDMAIL_MC = "/etc/mail/sendmail.mc"


@dataclass(frozen=True, slots=True)
class PathState:
    """A file or folder: its kind ("" if missing), its mode, and how many certificates are in it.

    Sendmail looks at files with the rights that its user has by their modes, root's as well: `stopped_at` is the path
    that keeps it out, `writable_at` the first folder on the way that its group or others may write, each "" for none.
    """

    kind: str = ""
    mode: int = 0
    stopped_at: str = ""
    writable_at: str = ""
    certificates: int = 0


class SendmailLookups(Protocol):
    """The look-ups that need the machine itself."""

    def path(self, path: str) -> PathState:
        """Inspect a path as Sendmail sees it."""

    def lines(self, path: str) -> list[str]:
        """Read the lines of a text, none where that is impossible."""

    def unreadable(self, path: str) -> str:
        """Find why the owner of the state directory can't read a file, "" where it can."""

    def answers(self, where: str) -> bool:
        """Check whether our milter answers there (`unix:/PATH`, `inet:HOST:PORT`)."""

    def stranger(self, where: str) -> str:
        """Name the user who listens there in its place, "" for none."""

    def has_program(self, name: str) -> bool:
        """Check whether there is such a program."""


@dataclass(frozen=True, slots=True)
class SendmailFacts:
    """A gateway: its configuration, its sendmail.cf, its machine, and the keys of all partners.

    It also has the administrator's own rows of the access table, by folded keys.
    """

    config: Config
    rules: tuple[Rule, ...]
    cf: SendmailCf
    machine: SendmailLookups
    partners: PartnerKeys
    own_access: Mapping[str, str] = field(default_factory=dict)

    @property
    def maps(self) -> SendmailMaps:
        """The table [sendmail]."""
        return self.config.sendmail or SendmailMaps()

    @property
    def active(self) -> list[Rule]:
        """Rules that demand anything of mail."""
        return [rule for rule in self.rules if rule.inbound.mode != "off"]

    @property
    def map_folder(self) -> str:
        """Where our maps are, without a slash at its end."""
        return self.maps.map_dir.rstrip("/")

    @property
    def blamed(self) -> list[str]:
        """The words of DontBlameSendmail, lower case."""
        return blamed_by(self.cf)

    def close_folder(self, folder: str) -> Fix:
        """Take the right to write from a folder's group and from others."""
        return Fix.chmod(f"{self.machine.path(folder).mode & ~0o022:04o}", folder)

    def class_words(self, name: str) -> dict[str, str]:
        """Collect all words of a class, each with the file that has it ("" for sendmail.cf)."""
        found = dict.fromkeys(self.cf.words(name), "")
        for file in self.cf.files_of_class(name):
            for line in self.machine.lines(file.path):
                for word in (line.partition("#")[0] if file.comments else line).split():
                    found.setdefault(word, file.path)
        return found


def blamed_by(cf: SendmailCf) -> list[str]:
    """Read DontBlameSendmail, lower case."""
    return cf.option("DontBlameSendmail").lower().replace(",", " ").split()


def rebuild(line: str) -> str:
    """Explain how to put a line of the .mc into force."""
    return f"write {line} into {SENDMAIL_MC}, in front of its MAILER lines, and run: sendmailconfig"
