"""Put partners' mail on hold before Postfix stops asking closedmail's tables, or it leaves by the Internet."""

import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail import programs
from closedmail.doctor.leaving import WaitingMail, keys_of, leaving_mails, parse_queue, say_mail, say_rows, tables_of
from closedmail.doctor.postfix_machine import PostfixMachine
from closedmail.errors import ClosedmailError
from closedmail.mta.lookup_chain import is_pattern
from closedmail.mta.postconf import read_options, run_postfix

_DEFAULT = "/etc/postfix"
_TIME_LIMIT = 300  # seconds, for a queue of many thousand mails
FILES = ("main.cf", "master.cf")
Texts = dict[str, str]  # the text of each of FILES


def going_tables(now: Texts, after: Texts) -> list[str]:
    """Find the transport tables that Postfix asks with the files as they are now and no longer asks with the others."""
    stay = _transport_tables(after)
    return [table for table in _transport_tables(now) if table not in stay]


def hold_mail(folder: Path, tables: list[str], *, release: bool) -> Iterator[str]:
    """Say what will leave by another way when Postfix no longer asks these tables; hold what waits unless `release`.

    Yields a sentence for each thing. Raises ClosedmailError where the queue or a table can't be read: then nothing is
    known of what would leave.
    """
    if not tables:
        return
    machine = PostfixMachine(str(folder), "postfix")
    rows: dict[str, str] = {}
    for table in tables:
        if is_pattern(table):  # it refuses spellings, and routes nobody
            continue
        rows.update(machine.table(table) or {})
    yield from say_rows(rows)
    yield from hold_again(folder, tables, release=release)


def hold_again(folder: Path, tables: list[str], *, release: bool, known: bool = False) -> Iterator[str]:
    """Hold what waits and is not on hold yet; a sentence for each mail. Raises ClosedmailError as `hold_mail` does.

    `known`: what is on hold already was said before.
    """
    if not tables:
        return
    postsuper = "postsuper" if str(folder) == _DEFAULT else f"postsuper -c {shlex.quote(str(folder))}"
    try:
        queue = _queue(folder)
        keys = {key for mail in queue for each in mail.recipients for key in keys_of(each) if "\n" not in key}
        leaving = leaving_mails(queue, _found(folder, tables, sorted(keys)))
        wanted = [mail.queue_id for mail in leaving if not mail.on_hold]
        if wanted and not release:
            _postfix(["postsuper", "-c", str(folder), "-h", "-"], wanted)
    except (ClosedmailError, ValueError) as error:
        if release:
            yield f"What waits in the queue for partners is not known: {error}"
            return
        raise ClosedmailError(
            f"which mail waits for partners is not known ({error}); nothing was undone",
            f"hold all of it (`{postsuper} -h ALL`) and run this with --release-queue",
        ) from None
    for mail in leaving:
        if known and mail.on_hold:
            continue
        yield say_mail(mail, release=release, postsuper=postsuper)


def _queue(folder: Path) -> list[WaitingMail]:
    queue = Path(run_postfix("postconf", "-c", str(folder), "-xh", "queue_directory").strip())
    if not any((queue / name).is_dir() for name in ("incoming", "active", "deferred")):
        return []  # Postfix makes them when it is started first
    return parse_queue(run_postfix("postqueue", "-c", str(folder), "-j"))


def _found(folder: Path, tables: list[str], keys: list[str]) -> set[str]:
    """Ask Postfix, which folds keys as it does for mail, which of them the tables have."""
    found: set[str] = set()
    for table in tables if keys else ():
        # It exits with 1 when it found nothing, too.
        lines = _postfix(["postmap", "-c", str(folder), "-q", "-", table], keys, accepted=(0, 1)).split("\n")
        found.update(line.partition("\t")[0] for line in lines if line)
    return found


def _postfix(command: list[str], lines: list[str], accepted: tuple[int, ...] = (0,)) -> str:
    stdin = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    ended = programs.run(
        command,
        time_limit=_TIME_LIMIT,
        stdin=stdin,
        package="Postfix",
        env=programs.environment(),
        accepted=accepted,
    )
    if ended.status and b"fatal: " in ended.stderr:
        raise ended.error()
    return ended.stdout.decode("utf-8", "surrogateescape")


def _transport_tables(texts: Texts) -> dict[str, None]:
    """Collect what transport_maps has in main.cf, and where master.cf gives a service another one."""
    with TemporaryDirectory(prefix="closedmail-") as folder:
        for name in FILES:
            path = Path(folder) / name
            path.write_bytes(texts.get(name, "").encode("utf-8", "surrogateescape"))
            os.utime(path, (time.time() - 60,) * 2)  # postconf waits for a file that is new
        values = [run_postfix("postconf", "-c", folder, "-xh", "transport_maps")]
        options = read_options(run_postfix("postconf", "-c", folder, "-xP")).values()
        values += [option["transport_maps"] for option in options if "transport_maps" in option]
    return tables_of(values)
