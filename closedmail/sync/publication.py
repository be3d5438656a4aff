"""Publish a settled generation: prepare maps and store aside, then switch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from closedmail.errors import Refused, StoreError
from closedmail.files import make_folder, remove_tree, sync_path
from closedmail.generation.generation import Generation
from closedmail.generation.sendmail_tls_demands import recipient_policies
from closedmail.maps.linger_times import SENDMAIL_LINGER, postfix_linger
from closedmail.maps.postfix_transport import policy_rows, policy_tables, transport_rows
from closedmail.maps.sendmail_access import access_rows
from closedmail.maps.sendmail_linger import DemandsInForce, staying_recipients
from closedmail.maps.sendmail_mailertable import mailertable_rows
from closedmail.publish.built_maps import BuiltMaps, header
from closedmail.publish.postfix_maps import build_maps
from closedmail.publish.sendmail_maps import build_sendmail_maps
from closedmail.publish.switch import switch
from closedmail.routes.tls_policy import Policy, Row, linger
from closedmail.store.archive import Archived
from closedmail.store.manifest import Details, ListInForce, Manifest
from closedmail.store.writer import StoreWriter
from closedmail.sync.inputs import Inputs
from closedmail.sync.locked_run import LockedRun
from closedmail.words import iso, iso_or_none

Reason = Literal["sync", "configuration", "rollback", "release"]


@dataclass(frozen=True, slots=True)
class GenerationLabel:
    """The number that a generation is published under, and why it is made.

    `rolled_back_to` is the generation that a rollback has put back. `rules_of` and `set_aside` are the manifest's.
    """

    number: int
    reason: Reason
    rolled_back_to: int = 0
    rules_of: int = 0
    set_aside: str = ""


class Publication:
    """The publication of what a run has settled; in a dry run all is done but the switch."""

    def __init__(self, run: LockedRun, inputs: Inputs, anew: int = 0, ended: Collection[str] = frozenset()) -> None:
        """Keep the run and its inputs; nothing happens yet. `anew` is as for `routes.tls_policy.linger`.

        `ended` are nexthops and names whose rows stay no longer.
        """
        self._run, self._inputs, self._anew, self._ended = run, inputs, anew, ended
        self._snapshot, self._now, self._state_dir = run.snapshot, run.now, run.state_dir

    def publish(
        self,
        generation: Generation,
        label: GenerationLabel,
        lists: Sequence[ListInForce],
        details: Mapping[str, Details],
        texts: Mapping[str, Path],
    ) -> None:
        """Put a generation in force. Raises Refused(publish-failed); what was in force then stays.

        `details` are by network, `texts` are new verified texts, by the name that they get below `lists/`.
        """
        config, run = self._inputs.config, self._run
        staying = self._staying(generation)
        recipients, staying_recipients = self._recipients(generation)
        maps = self._build(generation, label.number, staying, recipients, staying_recipients)
        kept = tuple(replace(item, domains=generation.changes[item.name].domains) for item in lists)
        try:
            self._keep_texts(texts)
            with StoreWriter(run.environment, run.store_path) as store:
                store.put_domains(generation.entries())
                store.put_tls_rows(policy_rows(generation.policies, staying), staying_recipients)
                until = [row.until for row in (*staying.values(), *staying_recipients.values())]
                store.put_manifest(self._manifest(generation, label, kept, until, maps))
                for name, item in details.items():
                    store.put_details(name, item)
                beyond = tuple(generation.rules[len(config.networks) + len(config.partners) :])
                archived = Archived(config.text, kept, generation.beyond, generation.released, beyond)
                store.put_archived(label.number, archived)
                if self._is_new(label.number):
                    store.put_history(label.number, self._history(generation, label, kept))
                store.forget_generations(config.gateway.keep_generations)
                if not run.dry_run:
                    switch(self._state_dir, list(maps.values()), store.commit)
        except StoreError as error:
            raise Refused("publish-failed", str(error)) from None
        except OSError as error:
            raise Refused(
                "publish-failed", f"{error.filename2 or error.filename or self._state_dir}: {error.strerror}"
            ) from None
        finally:
            for built in maps.values():
                remove_tree(built.folder)

    def touch(self, lists: Sequence[ListInForce], texts: Mapping[str, Path]) -> None:
        """Store that the same lists were signed again; the generation stays. Raises Refused(publish-failed)."""
        if self._snapshot is None or self._run.dry_run:
            return
        known = {item.name: item for item in self._snapshot.manifest.lists}
        lists = [replace(item, domains=known[item.name].domains) for item in lists if item.name in known]
        try:
            self._keep_texts(texts)
            with StoreWriter(self._run.environment, self._run.store_path) as store:
                store.put_manifest(replace(self._snapshot.manifest, lists=tuple(lists)))
                store.commit()
        except StoreError as error:
            raise Refused("publish-failed", str(error)) from None
        except OSError as error:
            raise Refused("publish-failed", f"{error.filename or self._state_dir}: {error.strerror}") from None

    def _is_new(self, number: int) -> bool:
        return self._snapshot is None or self._snapshot.manifest.generation != number

    def _staying(self, generation: Generation) -> dict[str, Row]:
        """Find the rows of Postfix's TLS policy that stay for a time."""
        in_force = self._snapshot.tls_rows() if self._snapshot else ()
        old_rows = (row for row in in_force if row[0] not in self._ended)
        linger_for = postfix_linger(self._inputs.config.postfix)
        return linger(old_rows, generation.policies, self._now, linger_for, self._run.latest, self._anew)

    def _recipients(self, generation: Generation) -> tuple[dict[str, Policy], dict[str, Row]]:
        """Find Sendmail's TLS demand for each name, and its rows that stay for a time."""
        if self._inputs.config.sendmail is None:
            return {}, {}
        policies, before = recipient_policies(generation.entries(), generation.rules), DemandsInForce()
        snapshot = self._snapshot
        if snapshot and snapshot.manifest.sendmail_maps:
            rows = {name: row for name, row in snapshot.staying_recipients() if name not in self._ended}
            before = DemandsInForce.of(snapshot.records(), snapshot.manifest.rules, rows, policies)
        staying = staying_recipients(before, policies, self._now, SENDMAIL_LINGER, self._run.latest, self._anew)
        return policies, staying

    def _build(
        self,
        generation: Generation,
        number: int,
        staying: Mapping[str, Row],
        recipients: Mapping[str, Policy],
        staying_recipients: Mapping[str, Row],
    ) -> dict[str, BuiltMaps]:
        """Build the maps of each MTA that is configured, by its name."""
        inputs, built = self._inputs, dict[str, BuiltMaps]()
        postfix, sendmail, own = inputs.config.postfix, inputs.config.sendmail, inputs.admission.own
        aside = self._run.work if self._run.dry_run else None
        head = header(number, iso(self._now))
        try:
            if postfix:
                built["postfix"] = build_maps(
                    aside / "postfix-maps" if aside else Path(postfix.map_dir),
                    head,
                    transport_rows(generation, own, inputs.shields),
                    policy_tables(generation.rules, policy_rows(generation.policies, staying)),
                    inputs.map_types,
                    postfix.config_directory,
                )
            if sendmail:
                built["sendmail"] = build_sendmail_maps(
                    aside / "sendmail-maps" if aside else Path(sendmail.map_dir),
                    head,
                    mailertable_rows(generation, own, inputs.local_rows.mailertable),
                    access_rows(recipients, staying_recipients, inputs.local_rows.access),
                    sendmail.map_type,
                )
        except Refused:
            for maps in built.values():
                remove_tree(maps.folder)
            raise
        return built

    def _manifest(
        self,
        generation: Generation,
        label: GenerationLabel,
        lists: tuple[ListInForce, ...],
        rows_until: Sequence[int],
        maps: Mapping[str, BuiltMaps],
    ) -> Manifest:
        config, inputs = self._inputs.config, self._inputs
        published_at, reason = self._now, str(label.reason)
        if self._snapshot and not self._is_new(label.number):
            published_at, reason = self._snapshot.manifest.published_at, self._snapshot.manifest.reason
        return Manifest(
            generation=label.number,
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
            holds_begun=generation.holds_begun,
            built_at=self._now,
            rows_due=min(rows_until, default=0),
            rows_until=max(rows_until, default=0),
            maps=maps["postfix"].identities() if "postfix" in maps else {},
            sendmail_maps=maps["sendmail"].identities() if "sendmail" in maps else {},
            rules_of=label.rules_of,
            set_aside=label.set_aside,
            released=generation.released,
            fingerprint_digest=inputs.postfix.fingerprint_digest if inputs.postfix else "",
        )

    def _former(self, lists: Sequence[ListInForce]) -> dict[str, int]:
        if self._snapshot is None:
            return {}
        before = self._snapshot.manifest
        times = before.former | {item.name: item.newest_signed_at for item in before.lists if item.newest_signed_at}
        return {name: time for name, time in times.items() if name not in {item.name for item in lists}}

    def _history(self, generation: Generation, label: GenerationLabel, lists: Sequence[ListInForce]) -> dict[str, Any]:
        networks = {}
        for item in lists:
            changes = generation.changes[item.name]
            networks[item.name] = {
                "domains": changes.domains,
                "signed_at": iso_or_none(item.signed_at),
                "added": len(changes.added),
                "removed": len(changes.removed),
                "changed": len(changes.changed),
            }
        line: dict[str, Any] = {"published_at": iso(self._now), "reason": label.reason, "networks": networks}
        if label.rolled_back_to:
            line["rolled_back_to"] = label.rolled_back_to
        return line | {"texts": [item.text for item in lists if item.text]}

    def _keep_texts(self, texts: Mapping[str, Path]) -> None:
        """Keep the verified texts, so that a later run can read them under another configuration."""
        if self._run.dry_run or not texts:
            return
        folder = self._state_dir / "lists"
        make_folder(folder, 0o750)
        for name, path in texts.items():
            sync_path(path)
            path.replace(folder / name)
        sync_path(folder)
