"""Publishing a settled generation: maps and store prepared aside, then the switch, then what is not needed goes."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import lmdb

from closedmail.core.generation import Generation
from closedmail.core.tls_policy import Row, linger
from closedmail.core.transport_map import policy_rows, transport_rows
from closedmail.errors import Refused, StoreError
from closedmail.publish.files import remove_tree, sync_path
from closedmail.publish.postfix import BuiltMaps, build_maps, header
from closedmail.publish.switch import switch
from closedmail.store.environment import store_path
from closedmail.store.manifest import Details, ListInForce, Manifest
from closedmail.store.reader import Snapshot
from closedmail.store.writer import StoreWriter
from closedmail.sync.inputs import Inputs
from closedmail.sync.report import iso

# Seconds. The TLS policy is switched first, and Postfix goes on using the old routes for up to ten seconds: a row must
# outlive its routes whatever `tls_linger` says.
_LEAST_LINGER = 60


class Publication:
    """How this run publishes: where, on top of what, and whether at all (`dry_run` stops short of the switch)."""

    def __init__(
        self,
        environment: lmdb.Environment,
        state_dir: Path,
        work: Path,
        inputs: Inputs,
        snapshot: Snapshot | None,
        now: int,
        dry_run: bool,
    ) -> None:
        """`work` is a folder for what a dry run builds; `snapshot` is what is in force, None where nothing is."""
        self._environment, self._state_dir, self._work = environment, state_dir, work
        self._inputs, self._snapshot, self._now, self._dry_run = inputs, snapshot, now, dry_run
        self._store_path = store_path(str(state_dir))

    def publish(
        self,
        generation: Generation,
        number: int,
        lists: Sequence[ListInForce],
        details: Mapping[str, Details],
        texts: Mapping[str, Path],
    ) -> None:
        """Put a generation in force. `texts` are new verified texts by the name that they get below `lists/`.

        Raises Refused(publish-failed); what was in force then stays.
        """
        config = self._inputs.config
        old_rows = self._snapshot.tls_rows() if self._snapshot else ()
        linger_for = max(_LEAST_LINGER, config.postfix.tls_linger) if config.postfix else 0
        staying = linger(old_rows, generation.policies, self._now, linger_for)
        maps = self._build(generation, number, staying)
        try:
            self._keep_texts(texts)
            with StoreWriter(self._environment, self._store_path) as store:
                store.put_domains(generation.entries())
                store.put_tls_rows(policy_rows(generation.policies, staying))
                store.put_manifest(self._manifest(generation, number, lists, staying, maps))
                for name, item in details.items():
                    store.put_details(name, item)
                if self._is_new(number):
                    store.put_history(number, self._history(generation, lists))
                if not self._dry_run:
                    switch(self._state_dir, maps, store)
        except StoreError as error:
            raise Refused("publish-failed", str(error)) from None
        except OSError as error:
            raise Refused("publish-failed", f"{error.filename or self._state_dir}: {error.strerror}") from None
        finally:
            if maps:
                remove_tree(maps.folder)
        if not self._dry_run:
            self._forget_texts({item.text for item in lists})

    def touch(self, lists: Sequence[ListInForce], texts: Mapping[str, Path]) -> None:
        """Note that the same lists were signed anew; the generation stays. Raises Refused(publish-failed)."""
        if self._snapshot is None or self._dry_run:
            return
        known = {item.name: item for item in self._snapshot.manifest.lists}
        lists = [replace(item, domains=known[item.name].domains) for item in lists if item.name in known]
        try:
            self._keep_texts(texts)
            with StoreWriter(self._environment, self._store_path) as store:
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
            self._work / "maps" if self._dry_run else Path(postfix.map_dir),
            header(number, iso(self._now) or ""),
            transport_rows(generation, inputs.admission.own),
            policy_rows(generation.policies, staying),
            inputs.map_type,
            postfix.config_directory,
        )

    def _manifest(
        self,
        generation: Generation,
        number: int,
        lists: Sequence[ListInForce],
        staying: Mapping[str, Row],
        maps: BuiltMaps | None,
    ) -> Manifest:
        config, inputs = self._inputs.config, self._inputs
        published_at, reason = self._now, self._reason(lists)
        if self._snapshot and not self._is_new(number):
            published_at, reason = self._snapshot.manifest.published_at, self._snapshot.manifest.reason
        return Manifest(
            generation=number,
            published_at=published_at,
            reason=reason,
            configuration=inputs.digest,
            rules_digest=inputs.rules,
            lists=tuple(replace(item, domains=generation.changes[item.name].domains) for item in lists),
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
        )

    def _former(self, lists: Sequence[ListInForce]) -> dict[str, int]:
        if self._snapshot is None:
            return {}
        before = self._snapshot.manifest
        times = before.former | {item.name: item.newest_signed_at for item in before.lists if item.newest_signed_at}
        return {name: time for name, time in times.items() if name not in {item.name for item in lists}}

    def _reason(self, lists: Sequence[ListInForce]) -> str:
        """`sync` where a list is new, `configuration` where only the rules are."""
        if self._snapshot is None:
            return "sync"
        before = {item.name: item.text for item in self._snapshot.manifest.lists}
        new = any(before.get(item.name, "") != item.text for item in lists)
        return "sync" if new or self._snapshot.manifest.configuration == self._inputs.digest else "configuration"

    def _history(self, generation: Generation, lists: Sequence[ListInForce]) -> dict[str, object]:
        networks = {}
        for item in lists:
            changes = generation.changes[item.name]
            networks[item.name] = {
                "domains": changes.domains,
                "signed_at": iso(item.signed_at),
                "added": len(changes.added),
                "removed": len(changes.removed),
                "changed": len(changes.changed),
            }
        return {"published_at": iso(self._now), "reason": self._reason(lists), "networks": networks}

    def _keep_texts(self, texts: Mapping[str, Path]) -> None:
        """Keep the verified texts, so that a later run can read them under another configuration."""
        if self._dry_run or not texts:
            return
        folder = self._state_dir / "lists"
        folder.mkdir(mode=0o750, exist_ok=True)
        for name, path in texts.items():
            sync_path(path)
            path.replace(folder / name)
        sync_path(folder)

    def _forget_texts(self, wanted: set[str]) -> None:
        folder = self._state_dir / "lists"
        for path in folder.iterdir() if folder.exists() else ():
            if path.name not in wanted:
                with suppress(OSError):  # the generation is in force, and what stays here does no harm
                    path.unlink()
