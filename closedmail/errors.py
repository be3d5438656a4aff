"""Define the errors that closedmail reports, by whose fault they are.

Three classes tell the command line what to do: `ConfigError` is the administrator's (exit 2), `Refused` a list's or
the publication's (exit 1, with a code), `ClosedmailError` everything else that a user, a partner
or the network can cause (exit 1). Each carries one line for the administrator that says what to do.
"""

from typing import Literal

# In their order of precedence: where several apply, the first counts.
Code = Literal[
    "busy",
    "fetch-failed",
    "too-large",
    "unsigned",
    "several-signatures",
    "extra-text",
    "wrong-signer",
    "bad-signature",
    "weak-digest",
    "revoked",
    "expired",
    "from-the-future",
    "replayed",
    "rolled-back",
    "empty",
    "bad-lines",
    "shrunk",
    "grown",
    "publish-failed",
]


class ClosedmailError(Exception):
    """An error; the message is one line for the administrator.

    `remedy` says what to do by a closedmail command: `{closedmail}` in it stands for the program and its --config.
    The code that knows the configuration file sets `closedmail`; the command line does so for all that it prints.
    """

    closedmail = "closedmail"

    def __init__(self, fault: str, remedy: str = "") -> None:
        super().__init__(fault)
        self.fault, self.remedy = fault, remedy

    def __str__(self) -> str:
        """Render both in one line."""
        return f"{self.fault}; {self.remedy.replace('{closedmail}', self.closedmail)}" if self.remedy else self.fault


class ServiceUserError(ClosedmailError):
    """The owner of the state directory, who runs closedmail, can't do what it has to."""


class ConfigError(ClosedmailError):
    """The configuration is wrong. `key` is the full key (`network.ndb.inbound.mode`), "" for the file itself."""

    def __init__(self, key: str, message: str, remedy: str = "") -> None:
        super().__init__(f"{key}: {message}" if key else message, remedy)
        self.key, self.message = key, message


class NothingSet(ConfigError):
    """The configuration file sets nothing: so it is when a package has just installed it."""


class Refused(ClosedmailError):
    """A list or a publication was refused, and what is in force stays. `code` is one of `Code`."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code: Code = code
        self.reason = reason


class StoreError(ClosedmailError):
    """The policy store cannot be read or written: missing, broken, newer than this program, or not permitted."""
