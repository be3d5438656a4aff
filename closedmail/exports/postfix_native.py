"""Render `postfix-native`: the inbound rules as restriction classes, for sites that want no daemon."""

from collections.abc import Iterator

from closedmail.errors import ClosedmailError
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.restriction_class import RestrictionClass, restriction_class
from closedmail.exports.sender_rows import NOT_OURS, sender_rows
from closedmail.exports.target import ExportRequest, File
from closedmail.inbound.partner import Match

_MAIN, _KEYS, _SENDERS = "main.cf", "keys.regexp", "senders"
_MOST_CLASSES = 1000  # each smtpd reads all of them when it starts
_LOST = (
    "LOST AGAINST THE DAEMON: subjects and issuers of certificates, and combinations of parts of one certificate; "
    "spellings of a sender that only UTS 46 maps onto a partner (full-width letters, other dots, joiners), and what "
    "the next hop may read in a local part; clients without an address (XCLIENT); texts that name domain and client; "
    "counters, explain for what was really decided, and switching without a reload. A fingerprint counts where "
    "smtpd_tls_fingerprint_digest makes one of the same length, and smtpd_tls_ask_ccert is on.",
)
_APPLYING = (
    "Apply, each time, in this order (Postfix 3.0 or newer):",
    "  postmap {place}/senders",
    "  grep -v '^#' {place}/main.cf | xargs -d '\\n' postconf -e",
    "  postfix reload",
    "Do once: smtpd_restriction_classes = $closedmail_classes, and the check first in both lists, before any "
    "permit: a mail to <postmaster> without a domain meets the second one only.",
    "  smtpd_sender_restrictions = check_sender_access $closedmail_senders, ...",
    "  smtpd_data_restrictions = check_sender_access $closedmail_senders, ...",
    "A login, and in classes with several ways to prove it a client that did, ends the list (OK): put no check behind "
    "it that such a mail has to meet. Relaying is never permitted by it (smtpd_relay_restrictions is another list).",
    "Files of classes that main.cf no longer names may be removed after the reload.",
)


class _Classes:
    """The classes met so far: one for each distinct rule, and for each set of hosts where the route's hosts count."""

    def __init__(self, published: PublishedGeneration, notes: Notes) -> None:
        self._published, self._notes = published, notes
        self._known: dict[tuple[str, str], str] = {}
        self.by_name: dict[str, RestrictionClass] = {}

    def action(self, match: Match) -> str:
        """Return the right-hand side of a partner's row. Raises ClosedmailError for too many classes."""
        key = (match.rule.table, match.value if match.rule.inbound.allow_route_hosts else "")
        found = self._known.get(key)
        if found is None:
            made = restriction_class(match, self._published, self._notes)
            found = self._known[key] = made.name if made else NOT_OURS
            if made:
                self.by_name[made.name] = made
                if len(self.by_name) > _MOST_CLASSES:
                    raise ClosedmailError(
                        f"more than {_MOST_CLASSES} different sets of addresses (allow_route_hosts): too many for "
                        "restriction classes; use the policy service, or name the networks in allow_from"
                    )
        return found


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """Render a folder: settings for main.cf, the senders' table, the pattern for its keys, and the class files."""
    notes = Notes()
    classes = _Classes(published, notes)
    for _ in sender_rows(published, classes.action, notes):  # once ahead: main.cf names all classes, and what is lost
        pass
    files = [
        File(_MAIN, _main(published, request, classes, notes)),
        File(_KEYS, _keys(published)),
        File(_SENDERS, _senders(published, classes)),
    ]
    for _, found in sorted(classes.by_name.items()):
        for name, lines in found.files.items():
            files.append(File(name, _head(published, lines)))
    return files


def _main(published: PublishedGeneration, request: ExportRequest, classes: _Classes, notes: Notes) -> Iterator[str]:
    applying = [line.replace("{place}", request.place) for line in (*_LOST, *_APPLYING)]
    yield from header("postfix-native", published, notes, applying)
    place = request.place
    table = f"$default_database_type:{place}/{_SENDERS}"
    # The first map decides whether parents of a domain are looked up at all (dict_union.c): a pattern would not do.
    yield f"closedmail_senders = unionmap:{{{table}, pipemap:{{regexp:{place}/{_KEYS}, {table}}}}}"
    yield f"closedmail_classes = {', '.join(sorted(classes.by_name))}"
    for name, found in sorted(classes.by_name.items()):
        yield f"{name} = {found.restrictions.replace('{place}', place)}"


def _keys(published: PublishedGeneration) -> Iterator[str]:
    yield from header("postfix-native", published, Notes())
    yield r"/^.+@([^@]+)$/ @$1"


def _senders(published: PublishedGeneration, classes: _Classes) -> Iterator[str]:
    yield from header("postfix-native", published, Notes())
    for key, value in sender_rows(published, classes.action, Notes()):
        yield f"{key} {value}"


def _head(published: PublishedGeneration, lines: tuple[str, ...]) -> Iterator[str]:
    yield from header("postfix-native", published, Notes())
    yield from lines
