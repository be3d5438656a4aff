"""The private Postfix of the demo, with what tests ask of it and change in it: log, queue, maps, settings."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from closedmail.demo.demo_postfix import DemoPostfix, make_older
from closedmail.errors import ClosedmailError


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One message of the queue. `recipients` gives for each waiting recipient why it waits, "" where it doesn't yet."""

    queue_name: str
    queue_id: str
    sender: str
    recipients: Mapping[str, str]


class PrivatePostfix(DemoPostfix):
    """A Postfix below a directory of the test's own, running inside the `with` block."""

    def reload(self) -> None:
        """Have the configuration read again, and return when that is done.

        Between the signal and master's line in the log an old smtpd may still take a connection.
        """
        make_older(self.etc / "main.cf", self.etc / "master.cf")
        before = self.log().count(": reload -- version")
        self.run("postfix", "-c", str(self.etc), "reload")
        deadline = time.monotonic() + 10
        while self.log().count(": reload -- version") == before and time.monotonic() < deadline:
            time.sleep(0.02)

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        """The first match of a regular expression in the log, as soon as it is there: the log comes a moment later."""
        deadline = time.monotonic() + timeout
        while (match := re.search(pattern, self.log(), re.MULTILINE)) is None:
            if time.monotonic() > deadline:
                last = self.last_complaints()
                raise ClosedmailError(f"Postfix did not log {pattern!r} within {timeout:g} s: {last}")
            time.sleep(0.02)
        return match

    def queue(self) -> list[QueueEntry]:
        """List the queue by postqueue(1), each message once.

        showq(8) reads one queue after the other: a message that moves from active to deferred meanwhile is listed in
        both. The later listing is the newer one, and has the reason. One that goes the other way, to be tried again,
        may be missing for one look.
        """
        entries: dict[str, QueueEntry] = {}
        for line in self.run("postqueue", "-c", str(self.etc), "-j").splitlines():
            entry = json.loads(line)
            recipients = {item["address"]: item.get("delay_reason", "") for item in entry["recipients"]}
            found = QueueEntry(entry["queue_name"], entry["queue_id"], entry["sender"], recipients)
            entries[found.queue_id] = found
        return list(entries.values())

    def flush(self) -> None:
        """Try all queued mail now."""
        self.run("postqueue", "-c", str(self.etc), "-f")

    def submit(self, sender: str, recipients: Sequence[str], data: bytes = b"Subject: test\n\ntest\n") -> None:
        """Hand in a mail on the machine itself, past smtpd and its restrictions, as sendmail(1) does."""
        self.run("sendmail", "-C", str(self.etc), "-f", sender, "-i", "--", *recipients, stdin=data)

    def postconf(self, *arguments: str) -> str:
        """Run `postconf -c` with these arguments; also for `postconf("-e", "name = value")` before a reload."""
        return self.run("postconf", "-c", str(self.etc), *arguments)

    def postmap(self, *arguments: str) -> str:
        """Run `postmap -c` with these arguments, to build a map."""
        return self.run("postmap", "-c", str(self.etc), *arguments)
