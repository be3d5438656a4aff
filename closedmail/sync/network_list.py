"""Handle one network's list in one run: the one in force, the new one if there is one, and the outcome."""

import threading
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any

from closedmail.core.hold_reason import Why
from closedmail.core.model import Network, Source
from closedmail.errors import Refused
from closedmail.files import fresh_folder, open_regular
from closedmail.lists.fetch_log import FetchRecord
from closedmail.lists.gpg_status import CLOCK_SKEW
from closedmail.lists.obtain import Obtained, Transferred, check_replay, file_digest, obtain, transfer
from closedmail.mailertable.admission import Admission
from closedmail.mailertable.grammar import MailertableError
from closedmail.mailertable.listing import Listing, SkippedLine
from closedmail.mailertable.reader import read_csv, read_domains, read_mailertable
from closedmail.store.manifest import ListInForce
from closedmail.store.snapshot import Snapshot
from closedmail.words import iso


class NetworkList:
    """One network's list in one run.

    `in_force` is the list in force (None: never had one), `new` a verified list that differs from it, `signed_anew`
    a list with the same text and another signature, `refusal` why the fetched list is not used.
    """

    def __init__(
        self,
        network: Network,
        state_dir: Path,
        in_force: ListInForce | None,
        record: FetchRecord,
        key_digest: str,
        newest: int,
        accept: str,
    ) -> None:
        """Fetch and read nothing yet.

        `newest` is the newest signing time accepted under a former configuration, `accept` the command that accepts a
        list that was rolled back from.
        """
        self.network, self.in_force, self.record = network, in_force, record
        self._folder = state_dir / "lists"
        self._key_digest = key_digest
        self._newest = max(newest, record.newest_signed_at, in_force.newest_signed_at if in_force else 0)
        self._text_name, self._accept = "", accept
        self._work = Path()
        self._transfer: _Transfer | None = None
        self.new: Obtained | None = None
        self.signed_anew: Obtained | None = None
        self.refusal: Refused | None = None

    def start_transfer(self, work: Path, *, alone: bool) -> None:
        """Start to fetch it into a folder below `work`, beside others' lists. Raises OSError.

        No exit waits for the thread: who interrupts a run need not wait for a slow server. A list that is `alone` needs
        no thread: it is fetched when `bring_in` asks for it.
        """
        source = self.network.source
        if source is None:
            return
        self._work = fresh_folder(work / self.network.name)
        self._transfer = _Transfer(source, self._known(source), self.record, self._work)
        if not alone:
            self._transfer.start()

    def wait(self) -> None:
        """Wait for the end of a transfer that was started."""
        if self._transfer and self._transfer.ident:
            self._transfer.join()

    def bring_in(self, now: int, *, force: bool) -> None:
        """Wait for the list, and verify it.

        The outcome is in `new`, `signed_anew` or `refusal`, none of them where it is unchanged. `force` accepts a list
        that was rolled back from.
        """
        source, in_force = self.network.source, self.in_force
        if source is None or self._transfer is None:
            return
        try:
            item = obtain(self._transfer.result(), source, self._known(source), self.record, self._work, now)
            if item:
                check_replay(
                    self.network.name, item.signed_at, self._newest, now, self._accept.removesuffix(" --force")
                )
                self._text_name = self._name_of(item.text)
                if in_force and not force:
                    _check_rolled_back(in_force, self._text_name, item.signed_at, self._accept)
        except Refused as refusal:
            self.refusal = refusal
            return
        if item:
            if in_force and self._text_name == in_force.text:
                self.signed_anew = item
            else:
                self.new = item

    def forget_signing_time(self, known: int, now: int) -> bool:
        """Forget the newest signing time where that is ahead of the clock, for `known`; false where it is not."""
        if self._newest <= now + CLOCK_SKEW:
            return False
        self._newest = known
        return True

    def refuse(self, refusal: Refused) -> None:
        """Drop the new list, and note why."""
        self.new, self.refusal = None, refusal

    def read(self, admission: Admission, snapshot: Snapshot | None) -> Listing | None:
        """Read the new list, else the one in force; None where there is neither."""
        source = self.network.source
        if source is None:
            return None
        admission = admission.of_list(self.network.within)
        if self.new:
            try:
                return read_list(self.new.text, source, admission)
            except MailertableError as error:
                self.refuse(Refused("bad-lines", f"the list of {self.network.name}: {error}"))
        text = self._text()
        if text:
            try:
                return read_list(text, source, admission)
            except MailertableError as error:  # by today's configuration
                self.refuse(self.refusal or Refused("bad-lines", f"the list of {self.network.name}: {error}"))
        return self._from_store(admission, snapshot) if self.in_force and self.in_force.text else None

    def is_whole(self) -> bool:
        """Check whether the text of the list in force exists as it was verified; true where there never was one."""
        return self.in_force is None or not self.in_force.text or self._text_in_force() is not None

    def lines_of(self, keys: AbstractSet[str], admission: Admission) -> list[tuple[str, SkippedLine]]:
        """Find the lines that give these keys; for the rare report that two networks list the same one."""
        path, source = self._text(), self.network.source
        if not path or not source or not keys:
            return []
        finder = _Finder(admission.own, admission.suffixes, frozenset(keys))
        return [(line.reason, line) for line in read_list(path, source, finder).skipped if line.reason in keys]

    def next_in_force(self) -> ListInForce:
        """Return this network's entry in the next manifest."""
        item = self.new or self.signed_anew
        in_force = self.in_force or ListInForce(self.network.name)
        if item is None:
            return in_force
        return replace(
            in_force,
            text=self._text_name,
            raw_digest=item.raw_digest,
            key_digest=self._key_digest,
            signer=item.signer,
            signed_at=item.signed_at,
            newest_signed_at=max(item.signed_at, self._newest),
            rolled_back_from=0,
            rolled_back_texts=(),
        )

    def accepted(self) -> None:
        """Note that it is in force: the next fetch may ask whether anything has changed since."""
        item = self.new or self.signed_anew
        if item and self.network.source:
            self.record.keep(self.network.source, item.raw_digest, item.validators, item.signature_validators)
            self.record.newest_signed_at = max(item.signed_at, self._newest)

    def new_text(self) -> tuple[str, Path] | None:
        """Return the verified text that is to be kept: its name, and where it is now."""
        item = self.new or self.signed_anew
        return (self._text_name, item.text) if item else None

    def _text(self) -> Path | None:
        item = self.new or self.signed_anew
        return item.text if item else self._text_in_force()

    def _known(self, source: Source) -> ListInForce | None:
        return self.in_force if self._still_verified(source) else None

    def _still_verified(self, source: Source) -> bool:
        """Check whether the list in force exists and would be accepted today, too: the same keys, a pinned signer."""
        if self.in_force is None or self.in_force.key_digest != self._key_digest:
            return False
        if not (self._folder / self.in_force.text).is_file():
            return False  # it has to be fetched again, or the next configuration could not be read with it
        if source.signature == "none":
            return not self.in_force.signer
        return self.in_force.signer in source.signing_keys

    def _text_in_force(self) -> Path | None:
        """Find the text of the list in force, where it is still as verified: its name has its digest."""
        if self.in_force is None or not self.in_force.text:
            return None
        path = self._folder / self.in_force.text
        try:
            return path if self._name_of(path) == self.in_force.text else None
        except OSError:
            return None

    def _name_of(self, text: Path) -> str:
        return f"{self.network.name}-{file_digest(text)[:32]}"

    def _from_store(self, admission: Admission, snapshot: Snapshot | None) -> Listing:
        """Rebuild a list whose text is gone from its entries in force, those still held for their line included."""
        listing = Listing()
        if snapshot:
            for key, entry in snapshot.records():
                if entry.network < 0 or snapshot.networks[entry.network] != self.network.name:
                    continue
                if admission.why_not(key):
                    continue
                if entry.listed:
                    listing.entries[key] = entry.value
                elif entry.why is Why.UNCLEAR:
                    listing.unclear[key] = ""
        return listing


class _Transfer(threading.Thread):
    def __init__(self, *what: Any) -> None:
        super().__init__(daemon=True)
        self._what = what
        self._transferred: Transferred | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._transferred = transfer(*self._what)
        except Exception as error:  # for the thread that waits for it
            self._error = error

    def result(self) -> Transferred:
        """Wait for it, or do it now. Raises Refused, and all else that the transfer raised."""
        if self.ident is None:
            self.run()
        else:
            self.join()
        if self._transferred is None:
            raise self._error or RuntimeError("the transfer ended without an outcome")
        return self._transferred


class _Finder(Admission):
    """Skip the `admitted` keys and nothing else, with the key as the reason."""

    def why_not(self, key: str) -> str | None:
        return key if key in self.admitted else None


def _check_rolled_back(in_force: ListInForce, text_name: str, signed_at: int, accept: str) -> None:
    """Raise Refused(rolled-back) for a list that is no newer than the one that an administrator has rolled back from.

    Where nobody signs, only that very text is known to be no newer. `text_name` names the new list's text.
    """
    if signed_at and signed_at <= in_force.rolled_back_from:
        what = f"was signed no later than the one of {iso(in_force.rolled_back_from)}"
    elif not signed_at and text_name in in_force.rolled_back_texts:
        what = "is the one"
    else:
        return
    raise Refused(
        "rolled-back",
        f"the list of {in_force.name} {what} that was rolled back from; the list that was put back stays in force "
        f"until a newer one comes; to accept this one now: {accept}",
    )


def new_texts(lists: Iterable[NetworkList]) -> dict[str, Path]:
    """Collect the verified texts that are to be kept, by name."""
    return dict(filter(None, (item.new_text() for item in lists)))


def read_list(path: Path, source: Source, admission: Admission) -> Listing:
    """Read a verified text in its network's format.

    Raises MailertableError for a table without the column, and for lines that end with CR alone.
    """
    with open(open_regular(path), "rb") as lines:
        if source.format == "csv":
            return read_csv(lines, admission, source.column)
        if source.format == "domains":
            return read_domains(lines, admission)
        return read_mailertable(lines, admission)
