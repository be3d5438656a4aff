"""The rules for rspamd and SpamAssassin in postfix-examples, on the real programs.

They must take our mark for what it is, and nothing that the milter would leave in a message of somebody else's.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machines.filters_tree import filters_tree
from support.machines.tree import NEEDS, Machine
from support.real import require

from closedmail.milter.authentication_results import bears_our_mark, mark

pytestmark = pytest.mark.real(*NEEDS)

EXAMPLES = Path(__file__).parents[1] / "postfix-examples"
ID = "mail.city.example"  # as in the examples

OURS = mark(ID, "ndb", "koeln.example")
assert OURS
# Values of fields; the last of each message, in front of it one of another filter.
MARKED = [OURS, f"{OURS} "]
NOT_MARKED = [
    f"{ID}; spf=pass smtp.mailfrom=koeln.example",
    f"{ID}; spf=pass; x-closedmail=pass (ndb)",
    f"{ID}; x-closedmail=none (ndb)",
    f"mx.example; x-closedmail=pass (ndb) reason={ID}",
    f"x{ID}; x-closedmail=pass (ndb)",
    f"{ID}.example; x-closedmail=pass (ndb)",
    "mailxcityxexample; x-closedmail=pass (ndb)",
]
# What the milter removes: whether a filter would believe it does not matter.
FORGED = [
    f"{ID.upper()}; X-CLOSEDMAIL=PASS (ndb)",
    f"{ID};\n x-closedmail=pass (ndb)",
    f"=?utf-8?q?{ID}=3B_x-closedmail=3Dpass_=28ndb=29?=",
    f"=?utf-8?q?mx.example=3B_spf=3Dpass=0A{ID}=3B_x-closedmail=3Dpass_=28ndb=29?=",
    f"(a) {ID}; x-closedmail=pass (ndb)",
    f'"{ID}"; x-closedmail=pass (ndb)',
    f"{ID} 1; x-closedmail=pass (ndb)",
    f"mx.example; spf=pass\n {ID}; x-closedmail=pass (ndb)",
    f"mx.example; spf=pass\n\t{ID}; x-closedmail=pass (ndb)",
]
VALUES = [*MARKED, *NOT_MARKED, *FORGED]


def message(value: str, number: int) -> str:
    return (
        f"Authentication-Results: {value}\nAuthentication-Results: mx.example; dkim=pass\n"
        f"From: u@koeln.example\nTo: office@city.example\nSubject: number {number}\n"
        f"Message-ID: <{number}@koeln.example>\nDate: Tue, 24 Nov 2026 03:00:00 +0000\n\nA test.\n"
    )


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    require(*NEEDS)
    with Machine(filters_tree) as machine:
        yield machine


def check(found: list[bool]) -> None:
    assert len(found) == len(VALUES)
    believed = [value for value, yes in zip(VALUES, found, strict=True) if yes]
    assert believed[: len(MARKED)] == MARKED
    assert not set(believed) & set(NOT_MARKED)
    assert all(bears_our_mark(value.encode(), ID) for value in believed)


def test_what_the_milter_leaves() -> None:
    """Nothing that bears our id and our method; the filters below see what it would have removed, too."""
    for value in NOT_MARKED:
        assert bears_our_mark(value.encode(), ID) == (value.startswith(f"{ID};") and "x-closedmail" in value), value
    assert all(bears_our_mark(value.encode(), ID) for value in (*MARKED, *FORGED))


def test_spamassassin(machine: Machine) -> None:
    rule = (EXAMPLES / "spamassassin" / "closedmail.cf").read_text()
    machine.write("/etc/spamassassin/closedmail.cf", rule)
    machine.run("spamassassin", "--lint", "--local")
    mbox = "".join(
        f"From u@koeln.example Tue Nov 24 03:00:00 2026\n{message(value, number)}\n"
        for number, value in enumerate(VALUES)
    )
    out = machine.run("spamassassin", "--local", "--mbox", "-t", stdin=mbox, timeout=120).stdout
    reports = {}
    for report in out.split("\nFrom u@koeln.example "):  # in any order
        number = re.search(r"^Subject: number (\d+)$", report, re.MULTILINE)
        assert number, report
        reports[int(number[1])] = "CLOSEDMAIL_PASS" in report
    check([reports[number] for number in range(len(VALUES))])
    assert "-8.0 CLOSEDMAIL_PASS" in " ".join(out.split())


def test_rspamd(machine: Machine) -> None:
    machine.write("/etc/rspamd/rspamd.local.lua", (EXAMPLES / "rspamd" / "closedmail.lua").read_text())
    # Else it compiles all top-level domains of the world, for a minute.
    machine.write("/etc/rspamd/tlds", "example\n")
    machine.write("/etc/rspamd/local.d/options.inc", 'url_tld = "/etc/rspamd/tlds";\ndisable_hyperscan = true;\n')
    machine.run("rspamadm", "configtest")
    process = machine.start("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd")
    try:
        deadline = time.monotonic() + 60
        while not machine.can_connect("127.0.0.1", 11333):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        found = []
        for number, value in enumerate(VALUES):
            out = machine.run("rspamc", "-h", "127.0.0.1:11333", "symbols", stdin=message(value, number)).stdout
            assert "Symbol:" in out, out
            found.append("CLOSEDMAIL_PASS (-8.00)" in out)
        check(found)
    finally:
        process.terminate()
        process.wait(15)
