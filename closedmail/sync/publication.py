"""Publishing a settled generation: maps and store prepared aside, then the switch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from closedmail.core.generation import Generation
from closedmail.core.tls_policy import Row, linger
from closedmail.core.transport_map import policy_rows, transport_rows
from closedmail.errors import Refused, StoreError
from closedmail.publish.files import remove_tree, sync_path
from closedmail.publish.postfix import BuiltMaps, build_maps, header
from closedmail.publish.switch import switch
from closedmail.store.archive import Archived
from closedmail.store.manifest import Details, ListInForce, Manifest
from closedmail.store.writer import StoreWriter
from closedmail.sync.inputs import Inputs
from closedmail.sync.report import iso
from closedmail.sync.session import Session

Reason = Literal["sync", "configuration", "rollback", "release"]

# Seconds. The TLS policy is switched first, and Postfix goes on using the old routes for up to ten seconds: a row must
# outlive its routes whatever `tls_linger` says.
_LEAST_LINGER = 60


@dataclass(frozen=True, slots=True)
class Edition:
    """What a settled generation is published as: its number, its lists, and what `sync` has to say of each network.

    `reason` is why it is made, `rolled_back_to` the generation that a rollback asked for. `rules_of` and `set_aside`
    are the manifest's. `texts` are new verified texts, by the name that they get below `lists/`.
    """

    number: int
    reason: Reason
    lists: Sequence[ListInForce]
    details: Mapping[str, Details]
    texts: Mapping[str, Path] = field(default_factory=dict)
    rolled_back_to: int = 0
    rules_of: int = 0
    set_aside: str = ""


class Publication:
    """How a session publishes: by which inputs, and whether at all (a dry run stops short of the switch)."""

    def __init__(self, session: Session, inputs: Inputs) -> None:
        """Nothing happens yet."""
        self._session, self._inputs = session, inputs
        self._snapshot, self._now, self._state_dir = session.snapshot, session.now, session.state_dir

    def publish(self, generation: Generation, edition: Edition) -> None:
        """Put a generation in force. Raises Refused(publish-failed); what was in force then stays."""
        config, session = self._inputs.config, self._session
        old_rows = self._snapshot.tls_rows() if self._snapshot else ()
        linger_for = max(_LEAST_LINGER, config.postfix.tls_linger) if config.postfix else 0
        staying = linger(old_rows, generation.policies, self._now, linger_for, session.latest)
        maps = self._build(generation, edition.number, staying)
        lists = tuple(replace(item, domains=generation.changes[item.name].domains) for item in edition.lists)
        try:
            self._keep_texts(edition.texts)
            with StoreWriter(session.environment, session.store_path) as store:
                store.put_domains(generation.entries())
                store.put_tls_rows(policy_rows(generation.policies, staying))
                store.put_manifest(self._manifest(generation, edition, lists, staying, maps))
                for name, item in edition.details.items():
                    store.put_details(name, item)
                archived = Archived(config.text, lists, generation.beyond, generation.released)
                store.put_archived(edition.number, archived)
                if self._is_new(edition.number):
                    store.put_history(edition.number, self._history(generation, edition))
                store.forget_generations(config.gateway.keep_generations)
                if not session.dry_run:
                    switch(self._state_dir, maps, store)
        except StoreError as error:
            raise Refused("publish-failed", str(error)) from None
        except OSError as error:
            raise Refused(
                "publish-failed", f"{error.filename2 or error.filename or self._state_dir}: {error.strerror}"
            ) from None
        finally:
            if maps:
                remove_tree(maps.folder)

    def touch(self, lists: Sequence[ListInForce], texts: Mapping[str, Path]) -> None:
        """Note that the same lists were signed anew; the generation stays. Raises Refused(publish-failed)."""
        if self._snapshot is None or self._session.dry_run:
            return
        known = {item.name: item for item in self._snapshot.manifest.lists}
        lists = [replace(item, domains=known[item.name].domains) for item in lists if item.name in known]
        try:
            self._keep_texts(texts)
            with StoreWriter(self._session.environment, self._session.store_path) as store:
                store.put_manifest(replace(self._snapshot.manifest, lists=tuple(lists)))
                store.commit()
        except StoreError as error:
            raise Refused("publish-failed", str(error)) from None
        except OSError as error:
            raise Refused("publish-failed", f"{error.filename or self._state_dir}: {error.strerror}") from None

    def _is_new(self, number: int) -> bool:
        return self._snapshot is None or self._snapshot.manifest.generation != number

    def _build(self, generation: Generation, number: int, staying: Mapping[str, Row]) -> BuiltMaps | None:
        inputs, postfix = self._inputs, self._inputs.config.postfix
        if postfix is None:
            return None
        return build_maps(
            self._session.work / "maps" if self._session.dry_run else Path(postfix.map_dir),
            header(number, iso(self._now) or ""),
            transport_rows(generation, inputs.admission.own),
            policy_rows(generation.policies, staying),
            inputs.map_type,
            postfix.config_directory,
        )

    def _manifest(
        self,
        generation: Generation,
        edition: Edition,
        lists: tuple[ListInForce, ...],
        staying: Mapping[str, Row],
        maps: BuiltMaps | None,
    ) -> Manifest:
        config, inputs = self._inputs.config, self._inputs
        published_at, reason = self._now, str(edition.reason)
        if self._snapshot and not self._is_new(edition.number):
            published_at, reason = self._snapshot.manifest.published_at, self._snapshot.manifest.reason
        return Manifest(
            generation=edition.number,
            published_at=published_at,
            reason=reason,
            configuration=inputs.digest,
            rules_digest=inputs.rules,
            lists=lists,
            rules=tuple(generation.rules),
            own_domains=config.gateway.own_domains,
            trusted_clients=config.gateway.trusted_clients,
            exempt_sasl=config.gateway.exempt_sasl,
            rewriting=inputs.rewriting,
            closed=generation.closed,
            shared_spellings=tuple(sorted(folded for folded, key in generation.spellings.items() if not key)),
            former=self._former(lists),
            holds_due=generation.holds_due,
            rows_due=min((row.until for row in staying.values()), default=0),
            maps=maps.identities() if maps else {},
            rules_of=edition.rules_of,
            set_aside=edition.set_aside,
            released=generation.released,
            fingerprint_digest=inputs.postfix.fingerprint_digest if inputs.postfix else "",
        )

    def _former(self, lists: Sequence[ListInForce]) -> dict[str, int]:
        if self._snapshot is None:
            return {}
        before = self._snapshot.manifest
        times = before.former | {item.name: item.newest_signed_at for item in before.lists if item.newest_signed_at}
        return {name: time for name, time in times.items() if name not in {item.name for item in lists}}

    def _history(self, generation: Generation, edition: Edition) -> dict[str, Any]:
        networks = {}
        for item in edition.lists:
            changes = generation.changes[item.name]
            networks[item.name] = {
                "domains": changes.domains,
                "signed_at": iso(item.signed_at),
                "added": len(changes.added),
                "removed": len(changes.removed),
                "changed": len(changes.changed),
            }
        line: dict[str, Any] = {"published_at": iso(self._now), "reason": edition.reason, "networks": networks}
        if edition.rolled_back_to:
            line["rolled_back_to"] = edition.rolled_back_to
        return line | {"texts": [item.text for item in edition.lists if item.text]}

    def _keep_texts(self, texts: Mapping[str, Path]) -> None:
        """Keep the verified texts, so that a later run can read them under another configuration."""
        if self._session.dry_run or not texts:
            return
        folder = self._state_dir / "lists"
        folder.mkdir(mode=0o750, exist_ok=True)
        for name, path in texts.items():
            sync_path(path)
            path.replace(folder / name)
        sync_path(folder)
