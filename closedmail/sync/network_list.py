"""One network's list in one run: the one in force, the new one if there is one, and what became of it."""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from closedmail.core.model import Network, Source
from closedmail.core.record import Why
from closedmail.errors import Refused
from closedmail.files import fresh_folder
from closedmail.lists.fetch_log import FetchRecord
from closedmail.lists.obtain import Obtained, check_replay, file_digest, obtain
from closedmail.mailertable.grammar import MailertableError
from closedmail.mailertable.listing import Admission, Listing, SkippedLine, read_csv, read_domains, read_mailertable
from closedmail.store.manifest import ListInForce
from closedmail.store.snapshot import Snapshot
from closedmail.words import iso


class NetworkList:
    """`standing` is what is in force (None: never had one), `new` a verified list that differs from it.

    `signed_anew` is a list with the same text and another signature, `refusal` why the fetched list is not used.
    """

    def __init__(
        self,
        network: Network,
        state_dir: Path,
        standing: ListInForce | None,
        record: FetchRecord,
        key_digest: str,
        newest: int,
    ) -> None:
        """Nothing is fetched or read yet. `newest` is the newest signing time accepted under a former configuration."""
        self.network, self.standing, self.record = network, standing, record
        self._folder = state_dir / "lists"
        self._key_digest = key_digest
        self._newest = max(newest, record.newest_signed_at, standing.newest_signed_at if standing else 0)
        self._text_name = ""
        self.new: Obtained | None = None
        self.signed_anew: Obtained | None = None
        self.refusal: Refused | None = None

    def bring_in(self, work: Path, now: int, *, force: bool) -> None:
        """Fetch and verify; the outcome is in `new`, `signed_anew` or `refusal`, or it is unchanged.

        `force` takes a list that was rolled back from.
        """
        source, standing = self.network.source, self.standing
        if source is None:
            return
        known = standing if self._still_verified(source) else None
        try:
            item = obtain(source, known, self.record, fresh_folder(work / self.network.name), now)
            if item:
                check_replay(self.network.name, item.signed_at, self._newest)
                self._text_name = self._name_of(item.text)
                if standing and not force:
                    _check_rolled_back(standing, self._text_name, item.signed_at)
        except Refused as refusal:
            self.refusal = refusal
            return
        if item:
            if standing and self._text_name == standing.text:
                self.signed_anew = item
            else:
                self.new = item

    def refuse(self, refusal: Refused) -> None:
        """What was new is not used."""
        self.new, self.refusal = None, refusal

    def read(self, admission: Admission, snapshot: Snapshot | None) -> Listing | None:
        """The listing that counts: the new list's, else that of the one in force, else None."""
        source = self.network.source
        if source is None:
            return None
        if self.new:
            try:
                return read_list(self.new.text, source, admission)
            except MailertableError as error:
                self.refuse(Refused("bad-lines", f"the list of {self.network.name}: {error}"))
        text = self._text()
        if text:
            try:
                return read_list(text, source, admission)
            except MailertableError as error:  # by the configuration of today
                self.refuse(self.refusal or Refused("bad-lines", f"the list of {self.network.name}: {error}"))
        return self._from_store(admission, snapshot) if self.standing and self.standing.text else None

    def is_whole(self) -> bool:
        """Whether the list in force can be read from its text, as it was verified; also where there never was one."""
        return self.standing is None or not self.standing.text or self._standing_text() is not None

    def lines_of(self, keys: AbstractSet[str], admission: Admission) -> list[tuple[str, SkippedLine]]:
        """Where the list gives these keys; for the rare report that two networks want the same one."""
        path, source = self._text(), self.network.source
        if not path or not source or not keys:
            return []
        finder = _Finder(admission.own, admission.suffixes, frozenset(keys))
        return [(line.reason, line) for line in read_list(path, source, finder).skipped if line.reason in keys]

    def next_in_force(self) -> ListInForce:
        """What the next manifest says of this network."""
        item = self.new or self.signed_anew
        standing = self.standing or ListInForce(self.network.name)
        if item is None:
            return standing
        return replace(
            standing,
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
        """It is in force: the next fetch may ask whether anything has changed since."""
        item = self.new or self.signed_anew
        if item and self.network.source:
            self.record.keep(self.network.source, item.raw_digest, item.validators, item.signature_validators)
            self.record.newest_signed_at = max(item.signed_at, self._newest)

    def new_text(self) -> tuple[str, Path] | None:
        """A verified text that is to be kept: its name and where it lies now."""
        item = self.new or self.signed_anew
        return (self._text_name, item.text) if item else None

    def _text(self) -> Path | None:
        item = self.new or self.signed_anew
        return item.text if item else self._standing_text()

    def _still_verified(self, source: Source) -> bool:
        """Whether the list in force is there, and would be verified today as well: by these keys, by this signer."""
        if self.standing is None or self.standing.key_digest != self._key_digest:
            return False
        if not (self._folder / self.standing.text).is_file():
            return False  # it has to be fetched again, or the next configuration could not be read with it
        if source.signature == "none":
            return not self.standing.signer
        return self.standing.signer in source.signing_keys

    def _standing_text(self) -> Path | None:
        """The text of the list in force, where it is still what was verified: its name has its digest."""
        if self.standing is None or not self.standing.text:
            return None
        path = self._folder / self.standing.text
        try:
            return path if self._name_of(path) == self.standing.text else None
        except OSError:
            return None

    def _name_of(self, text: Path) -> str:
        return f"{self.network.name}-{file_digest(text)[:32]}"

    def _from_store(self, admission: Admission, snapshot: Snapshot | None) -> Listing:
        """A list whose text is gone: its entries as they are in force, those still held for their line included."""
        listing = Listing()
        if snapshot:
            for key, entry in snapshot.records():
                if entry.network < 0 or snapshot.networks[entry.network] != self.network.name:
                    continue
                if admission.why_not(key):
                    listing.ruled_out.add(key)
                elif entry.listed:
                    listing.entries[key] = entry.value
                elif entry.why is Why.UNCLEAR:
                    listing.unclear[key] = ""
        return listing


class _Finder(Admission):
    """Names the keys that are `admitted`, as if by a rule that rules them out."""

    def why_not(self, key: str) -> str | None:
        return key if key in self.admitted else None


def _check_rolled_back(standing: ListInForce, text_name: str, signed_at: int) -> None:
    """Raise Refused(rolled-back) for a list that is no newer than the one that an administrator has rolled back from.

    Where nobody signs, only that very text is known to be no newer. `text_name` names the new list's text.
    """
    if signed_at and signed_at <= standing.rolled_back_from:
        what = f"was signed no later than the one of {iso(standing.rolled_back_from)}"
    elif not signed_at and text_name in standing.rolled_back_texts:
        what = "is the one"
    else:
        return
    raise Refused(
        "rolled-back",
        f"the list of {standing.name} {what} that was rolled back from: what was put back in force stays until a newer "
        f"list comes; take this one with: closedmail sync --network {standing.name} --force",
    )


def read_list(path: Path, source: Source, admission: Admission) -> Listing:
    """Read a verified text in its network's format. Raises MailertableError for a table without the column."""
    with path.open("rb") as lines:
        if source.format == "csv":
            return read_csv(lines, admission, source.column)
        if source.format == "domains":
            return read_domains(lines, admission)
        return read_mailertable(lines, admission)
