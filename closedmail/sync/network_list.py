"""One network's list in one run: the one in force, the new one if there is one, and what became of it."""

import hashlib
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from closedmail.core.listing import Admission, Listing, SkippedLine, read_csv, read_domains, read_mailertable
from closedmail.core.mailertable import MailertableError, parse_line
from closedmail.core.model import Network, Source
from closedmail.errors import Refused
from closedmail.lists.fetch_log import FetchRecord
from closedmail.lists.obtain import Obtained, check_replay, obtain
from closedmail.publish.files import fresh_folder
from closedmail.store.manifest import ListInForce
from closedmail.store.reader import Snapshot

_BLOCK = 1 << 20


class NetworkList:
    """`standing` is what is in force (None: never had one), `new` a verified list that differs from it.

    `signed_anew` is a list with the same text and another signature, `refusal` why the fetched list is not used.
    """

    def __init__(
        self, network: Network, state_dir: Path, standing: ListInForce | None, record: FetchRecord, key_digest: str
    ) -> None:
        """Nothing is fetched or read yet."""
        self.network, self.standing, self.record = network, standing, record
        self._folder = state_dir / "lists"
        self._key_digest = key_digest
        self._text_name = ""
        self.new: Obtained | None = None
        self.signed_anew: Obtained | None = None
        self.refusal: Refused | None = None

    def bring_in(self, work: Path, now: int) -> None:
        """Fetch and verify; the outcome is in `new`, `signed_anew` or `refusal`, or it is unchanged."""
        source, standing = self.network.source, self.standing
        if source is None:
            return
        same = standing is not None and standing.key_digest == self._key_digest and self._standing_text() is not None
        try:
            item = obtain(source, standing if same else None, self.record, fresh_folder(work / self.network.name), now)
            if item and standing:
                check_replay(self.network.name, item.signed_at, standing.newest_signed_at)
        except Refused as refusal:
            self.refusal = refusal
            return
        if item:
            self._text_name = f"{self.network.name}-{_digest(item.text)[:32]}"
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
        text = self._standing_text()
        if text:
            return read_list(text, source, admission)
        return self._from_store(snapshot) if self.standing and self.standing.text else None

    def lines_of(self, keys: AbstractSet[str]) -> list[tuple[str, SkippedLine]]:
        """Where the list gives these keys; for the rare report that two networks want the same one."""
        found: list[tuple[str, SkippedLine]] = []
        path = self.new.text if self.new else self._standing_text()
        if path and keys:
            with path.open("rb") as lines:
                for number, raw in enumerate(lines, 1):
                    with suppress(MailertableError):
                        parsed = parse_line(raw)
                        if parsed and parsed[0] in keys:
                            text = raw.decode("utf-8", "replace").rstrip("\r\n")
                            found.append((parsed[0], SkippedLine(number, text, "", bad=False)))
        return found

    def next_in_force(self) -> ListInForce:
        """What the next manifest says of this network."""
        item = self.new or self.signed_anew
        standing = self.standing or ListInForce(self.network.name)
        standing = replace(standing, title=self.network.title or self.network.name)
        if item is None:
            return standing
        return replace(
            standing,
            text=self._text_name,
            raw_digest=item.raw_digest,
            key_digest=self._key_digest,
            signer=item.signer,
            signed_at=item.signed_at,
            newest_signed_at=max(item.signed_at, standing.newest_signed_at),
        )

    def accepted(self) -> None:
        """It is in force: the next fetch may ask whether anything has changed since."""
        item = self.new or self.signed_anew
        if item:
            self.record.validators = item.validators.to_dict()
            self.record.signature_validators = item.signature_validators.to_dict()

    def new_text(self) -> tuple[str, Path] | None:
        """A verified text that is to be kept: its name and where it lies now."""
        return (self._text_name, self.new.text) if self.new else None

    def _standing_text(self) -> Path | None:
        if self.standing is None or not self.standing.text:
            return None
        path = self._folder / self.standing.text
        return path if path.exists() else None

    def _from_store(self, snapshot: Snapshot | None) -> Listing:
        """A list whose text is gone: its entries as they are in force."""
        listing = Listing()
        if snapshot:
            for key, entry in snapshot.records():
                if entry.listed and snapshot.networks[entry.network] == self.network.name:
                    listing.entries[key] = entry.value
        return listing


def read_list(path: Path, source: Source, admission: Admission) -> Listing:
    """Read a verified text in its network's format. Raises MailertableError for a table without the column."""
    with path.open("rb") as lines:
        if source.format == "csv":
            return read_csv(lines, admission, source.column)
        if source.format == "domains":
            return read_domains(lines, admission)
        return read_mailertable(lines, admission)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
