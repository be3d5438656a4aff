"""The corpus of bad lists through the whole of `sync`: each is refused with its code and message, and changes nothing.

And what takes more than the file to see: replayed lists, and two pinned keys during a rollover.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.network import DAY, MINUTE, File, Signers, Site, gateway_folder, tree
from support.signed_lists.bad_lists import BAD_DETACHED, BAD_LISTS, Corpus
from support.signed_lists.bad_reasons import Bad
from support.signed_lists.good_lists import ODD_TEXTS
from support.signed_lists.list_keys import CLOCK, MAX_SIZE, NOW, TEXT, Keys

from closedmail.errors import StoreError

pytestmark = [pytest.mark.real("gpg", "postmap", "postconf"), pytest.mark.usefixtures("clock")]

MORE = TEXT + b"aachen.example\tesmtp:[192.0.2.3]\n"


def gateway(folder: Path, keys: Keys) -> Site:
    """A gateway that pins all keys but the stranger's, and has no list yet."""
    site = Site(folder, Signers(keys.net, keys.twin))
    site.now = CLOCK
    pinned = [signer.fingerprint for signer in keys.pinned]
    site.set(key_file=str(keys.file("all")), signing_keys=pinned, max_size=f"{MAX_SIZE >> 20}MiB")
    return site


def put(site: Site, data: bytes, signature: bytes) -> None:
    """Put a list and its detached signature in place."""
    (site.folder / "ndb.sig").write_bytes(signature)
    site.put_raw(data)


@pytest.fixture(scope="module")
def clock() -> Iterator[None]:
    """The command line has the time of the corpus."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("closedmail.sync.locked_run.time", SimpleNamespace(time=lambda: CLOCK))
        yield


@pytest.fixture(scope="module")
def inline(keys: Keys) -> Iterator[Site]:
    """A gateway with a list in force, which no test of this module changes."""
    with pytest.MonkeyPatch.context() as monkeypatch, gateway_folder(monkeypatch) as folder:
        site = gateway(folder, keys)
        site.put(TEXT, when=NOW - MINUTE)
        site.published()
        yield site


@pytest.fixture(scope="module")
def detached(keys: Keys) -> Iterator[Site]:
    """The same, of a network with detached signatures."""
    with pytest.MonkeyPatch.context() as monkeypatch, gateway_folder(monkeypatch) as folder:
        site = gateway(folder, keys)
        site.set(signature=str(folder / "ndb.sig"))
        put(site, TEXT, keys.net.detach(TEXT, when=NOW - MINUTE))
        site.published()
        yield site


def files_of(site: Site) -> dict[str, File | None]:
    """All that a refused list must leave as it is, byte for byte: everything but itself and the log of fetches."""
    own = {"state/sync.json", "ndb.list", "ndb.sig"}
    return {name: file for name, file in tree(site.folder).items() if name not in own}


def assert_refused(site: Site, bad: Bad, keys: Keys) -> None:
    """It is refused, also by force, which is for the brakes alone; nothing remembers it but the log of fetches."""
    before, known, said = files_of(site), site.log["ndb"], bad.said(keys)
    noted = replace(known, attempted_at=CLOCK, fetched_at=CLOCK, result="refused", code=bad.code, reason=said)
    for force in ((), ("--force",)):
        outcome = site.run("sync", "--json", *force)
        found = outcome.json["networks"]["ndb"]
        assert (outcome.status, found["result"], found["code"], found["reason"]) == (1, "refused", bad.code, said)
        assert outcome.stderr == f"closedmail: error: ndb: {bad.code}: {said}\n"
        assert (outcome.json["generation"], found["domains"], found["added"], found["removed"]) == (1, 2, [], [])
        assert files_of(site) == before
        assert site.log == {"ndb": noted}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_bad_list(inline: Site, corpus: Corpus, case: str) -> None:
    bad = BAD_LISTS[case]
    inline.put_raw(corpus.files(bad)[0])
    assert_refused(inline, bad, corpus.keys)


@pytest.mark.parametrize("case", BAD_DETACHED)
def test_bad_detached_signature(detached: Site, corpus: Corpus, case: str) -> None:
    bad = BAD_DETACHED[case]
    data, signature = corpus.files(bad)
    put(detached, data, signature or b"")
    assert_refused(detached, bad, corpus.keys)


# All that a bad file leaves is its code and message in the log, so one of each code tells whether that is in the way.
ONE_EACH = {bad.code: case for case, bad in BAD_LISTS.items()}


@pytest.mark.parametrize("case", ONE_EACH.values(), ids=ONE_EACH)
def test_good_list_after_a_bad_one(surroundings: Path, corpus: Corpus, case: str) -> None:
    site = gateway(surroundings, corpus.keys)
    site.put(TEXT)
    site.published()
    site.put_raw(corpus.files(BAD_LISTS[case])[0])
    assert_refused(site, BAD_LISTS[case], corpus.keys)
    site.put(MORE)
    assert site.published().added == ["aachen.example"]
    site.assert_consistent()


def test_bad_first_lists(surroundings: Path, corpus: Corpus) -> None:
    site = gateway(surroundings, corpus.keys)
    for case in ONE_EACH.values():
        bad = BAD_LISTS[case]
        site.put_raw(corpus.files(bad)[0])
        report = site.sync(force=True)
        assert (report.generation, report.networks["ndb"].reason) == (None, bad.said(corpus.keys))
        assert not site.map_dir.exists()
        assert not (site.state_dir / "lists").exists()
        with site.store() as store, pytest.raises(StoreError, match="closedmail sync"):
            store.current()
    site.put(TEXT)
    assert site.published().domains == 2
    site.assert_consistent()


@pytest.mark.parametrize("case", ODD_TEXTS)
def test_odd_text(site: Site, case: str) -> None:
    text, skipped = ODD_TEXTS[case]
    site.put(text)
    report = site.published()
    assert [line.line for line in report.skipped] == skipped
    assert site.route("koeln.example") == "smtp:[192.0.2.1]"
    assert "evil.example" not in site.rows()


# --- replayed lists ------------------------------------------------------------------------------------------------


def test_list_signed_before_the_one_in_force(site: Site) -> None:
    site.put(TEXT, when=site.now - MINUTE)
    site.published()
    before = files_of(site)
    site.put(MORE, when=site.now - DAY)
    for force in (False, True):
        reason = site.refused("replayed", force=force).reason
        assert f"{DAY - MINUTE} seconds before the newest one" in reason
    assert files_of(site) == before
    site.put(MORE, when=site.now - MINUTE)  # equal is no replay
    assert site.published().added == ["aachen.example"]


def test_the_same_text_signed_earlier_is_replayed_too(site: Site) -> None:
    site.put(TEXT, when=site.now - MINUTE)
    site.published()
    site.put(TEXT, when=site.now - MINUTE - 1)
    site.refused("replayed")


def test_ten_minutes_ahead_are_allowed(site: Site) -> None:
    site.put(TEXT, when=site.now + 601)
    site.refused("from-the-future")
    site.put(TEXT, when=site.now + 600)
    site.published()
    site.put(TEXT, when=site.now)
    site.refused("replayed")


def test_of_several_reasons_the_first_counts(site: Site) -> None:
    site.put(TEXT)
    site.published()
    site.put("", when=site.now - DAY)  # replayed and empty
    site.refused("replayed")
    site.put_raw(site.signers.stranger.clearsign(b"", when=site.now - DAY))
    site.refused("wrong-signer")
    site.set(outbound__transport="nowhere")  # and it could not be published either
    site.refused("wrong-signer")


# --- two pinned keys -----------------------------------------------------------------------------------------------


@pytest.fixture
def rollover(surroundings: Path, keys: Keys) -> Site:
    """A gateway that knows one key, `keys.revoked` as it was before, and has a list of it in force."""
    site = gateway(surroundings, keys)
    site.set(key_file=str(keys.file("not-revoked")), signing_keys=[keys.revoked.fingerprint])
    site.put_raw(keys.revoked.clearsign(TEXT, when=NOW - 600))
    assert site.published().signer == keys.revoked.fingerprint
    return site


def test_key_rollover(rollover: Site, keys: Keys) -> None:
    site, old, new = rollover, keys.revoked, keys.sub
    both = site.folder / "both.asc"
    both.write_bytes(keys.file("not-revoked").read_bytes() + keys.file("sub").read_bytes())
    first = new.clearsign(MORE, when=NOW - 500)
    # The new key is not pinned yet: not by being in the file, and not by being pinned without being in it.
    site.put_raw(first)
    site.refused("wrong-signer")
    site.set(key_file=str(both))
    site.refused("wrong-signer")
    site.set(key_file=str(keys.file("not-revoked")), signing_keys=[old.fingerprint, new.fingerprint])
    site.refused("wrong-signer")
    # Both are pinned: either signs, and the time counts across them.
    site.set(key_file=str(both))
    assert (site.published().signer, site.route("aachen.example")) == (new.fingerprint, "smtp:[192.0.2.3]")
    site.put_raw(old.clearsign(TEXT, when=NOW - 501))
    site.refused("replayed")
    site.put_raw(old.clearsign(TEXT, when=NOW - 400))
    assert site.published().signer == old.fingerprint
    site.put_raw(new.clearsign(MORE, when=NOW - 300))
    assert site.published().signer == new.fingerprint
    # The old one is revoked while it is still pinned, then let go.
    both.write_bytes(keys.file("revoked").read_bytes() + keys.file("sub").read_bytes())
    site.put_raw(old.clearsign(TEXT, when=NOW - 200))
    site.refused("revoked")
    site.set(signing_keys=[new.fingerprint])
    site.refused("wrong-signer")
    assert site.route("aachen.example") == "smtp:[192.0.2.3]"
    site.put_raw(new.clearsign(TEXT, when=NOW - 100))
    assert site.published().removed == ["aachen.example"]
    site.assert_consistent()


@pytest.mark.parametrize("how", ["let go", "revoked"])
def test_key_of_the_list_in_force(rollover: Site, keys: Keys, how: str) -> None:
    """The list that it signed stays in force, but is refused when it comes again, until the new key has signed."""
    site, old, new = rollover, keys.revoked, keys.sub
    both = site.folder / "both.asc"
    both.write_bytes(keys.file("revoked").read_bytes() + keys.file("sub").read_bytes())
    pinned = [new.fingerprint] if how == "let go" else [old.fingerprint, new.fingerprint]
    site.set(key_file=str(both), signing_keys=pinned)
    site.refused("wrong-signer" if how == "let go" else "revoked")
    assert site.route("koeln.example") == "smtp:[192.0.2.1]"
    site.put_raw(new.clearsign(TEXT, when=NOW - 500))
    report = site.sync().networks["ndb"]
    assert (report.code, report.signer) == (None, new.fingerprint)
    site.assert_consistent()
