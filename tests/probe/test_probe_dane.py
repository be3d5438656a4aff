"""`closedmail probe` at levels dane and dane-only: what it says of hosts in signed and unsigned zones, and what Postfix
delivers there."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dane_bench import CASES, NEEDS, Outcome, outcome_of_all
from support.real import require
from support.sink import Sink

from closedmail.demo.demo_certificates import self_signed
from closedmail.mta.client_settings import ClientSettings
from closedmail.mta.postfix_client import PostfixClients
from closedmail.probe.posttls_finger import ask_posttls_finger
from closedmail.probe.probe import Prober
from closedmail.probe.probe_result import HostResult
from closedmail.probe.probe_targets import ProbeTarget
from closedmail.routes.tls_policy import Policy

SETTINGS = ClientSettings("city.example", grades={"medium": "DEFAULT"}, families="ipv4", dnssec=True)


@pytest.fixture(scope="module")
def bench() -> Iterator[Outcome]:
    require(*NEEDS, "python3-dnspython")
    folder = Path(tempfile.mkdtemp(prefix="closedmail-"))
    folder.chmod(0o755)  # Postfix enters it
    try:
        yield outcome_of_all(folder)
    finally:
        shutil.rmtree(folder)


@pytest.mark.real(*NEEDS)
def test_the_verdict_is_that_of_a_delivery(bench: Outcome) -> None:
    assert list(bench.cases) == CASES
    assert {case: found["probe"]["ok"] for case, found in bench.cases.items()} == {
        case: found["arrived"] for case, found in bench.cases.items()
    }
    for level in ("dane", "dane-only"):
        assert {found["arrived"] for case, found in bench.cases.items() if case[0] == level} == {True, False}
    # A host that is ok without a word is one that was delivered to with TLS.
    assert all(found["tls"] for found in bench.cases.values() if found["probe"]["ok"] and not found["probe"]["error"])
    assert all(found["probe"]["fingerprint"] for found in bench.cases.values() if found["tls"])


ABSENT, UNUSABLE = "no TLSA record is found in a signed zone", "none of the TLSA records is usable"
BLIND, UNSIGNED = "smtp_dns_support_level is not dnssec", "the MX records are not signed (DNSSEC)"
MAY, NEVER = "Postfix delivers as at level may, if need be in plain text", "does not deliver"


@pytest.mark.real(*NEEDS)
@pytest.mark.parametrize(
    ("service", "nexthop", "ok", "words"),
    [
        ("dane-only", "[right.signed.example]", True, None),
        ("dane", "signed.example", True, None),
        ("dane", "[both.signed.example]", True, None),
        (
            "dane",
            "[wrong.signed.example]",
            False,
            ("does not match its TLSA records", "no matching DANE TLSA records"),
        ),
        ("dane", "[absent.signed.example]", True, (ABSENT, MAY)),
        ("dane-only", "[absent.signed.example]", False, (ABSENT, NEVER)),
        ("dane", "[unusable.signed.example]", True, (UNUSABLE, "as at level encrypt")),
        ("dane", "[unusableplain.signed.example]", False, ("offers no STARTTLS", UNUSABLE)),
        ("dane", "[plain.signed.example]", False, ("offers no STARTTLS, and TLS level dane demands it",)),
        ("dane", "[bogus.signed.example]", False, ("the TLSA records can't be looked up", "TLSA lookup error")),
        ("dane-only", "[gone.signed.example]", False, ("127.0.0.23: Connection refused",)),
        ("dane", "[host.unsigned.example]", True, (ABSENT, MAY)),
        ("dane", "[127.0.0.21]", True, (ABSENT, MAY)),
        ("dane-only", "[127.0.0.21]", False, (ABSENT, NEVER)),
        ("dane", "wrong.unsigned.example", True, (UNSIGNED, MAY)),
        ("dane-only", "unsigned.example", False, (UNSIGNED, NEVER)),
        ("dane.mx", "unsigned.example", True, None),
        ("dane.own", "wrong.unsigned.example", False, ("does not match its TLSA records",)),
        ("dane.encrypt", "wrong.unsigned.example", True, (UNSIGNED, "as at level encrypt")),
        ("dane.blind", "[wrong.signed.example]", True, (BLIND, MAY)),
        ("dane-only.blind", "[right.signed.example]", False, (BLIND, NEVER)),
    ],
)
def test_what_is_said(bench: Outcome, service: str, nexthop: str, ok: bool, words: tuple[str, ...] | None) -> None:
    result = bench.cases[service, nexthop]["probe"]
    assert result["ok"] is ok
    assert (result["error"] is None) is (words is None)
    for part in words or ():
        assert part in result["error"]


@pytest.mark.real(*NEEDS)
def test_the_command(bench: Outcome) -> None:
    assert bench.status == 1
    assert "[right.signed.example] (1 domain, TLS dane): ok\n  reached at 127.0.0.21: TLSv1.3\n" in bench.said
    assert f"[absent.signed.example] (1 domain, TLS dane): ok\n  note: {ABSENT}: {MAY}\n" in bench.said
    assert "[wrong.signed.example] (1 domain, TLS dane): NOT OK\n  error: the server does not match" in bench.said


# posttls-finger that is missing, or means no good: a script in its place.


def meet(nexthop: str, program: Path | None, monkeypatch: pytest.MonkeyPatch, patience: float = 60.0) -> HostResult:
    monkeypatch.setattr("closedmail.probe.probe.find", lambda _: program and str(program))
    target = ProbeTarget(nexthop, "smtp", "dane", Policy("dane"))
    (result,) = Prober(lambda _: SETTINGS, config_directory="/etc/postfix", patience=patience).probe({target: 1})
    return result


def script(folder: Path, text: str) -> Path:
    path = folder / "posttls-finger"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In time and length, and nothing of it stays; and what it says moves no terminal."""
    require("openssl")
    pids = tmp_path / "pids"
    with Sink("127.0.0.7", certificate=self_signed(tmp_path / "certificate", "mx.koeln.example").pair) as sink:
        nexthop = f"[127.0.0.7]:{sink.port}"
        result = meet(nexthop, None, monkeypatch)
        assert "only Postfix's posttls-finger looks up; it is not found here" in (result.error or "")
        cases = (
            (f"sleep 600 & echo $! $$ >{pids}; wait", "not done within 5 s, and given up"),
            (f"echo $$ >{pids}; exec yes", "posttls-finger reported no look-up of TLSA records: no output"),
            (f"echo $$ >{pids}; printf 'posttls-finger: \\033[2J\\n'", r"reported no look-up of TLSA records: \x1b[2J"),
            (f"echo $$ >{pids}; exit 1", "posttls-finger reported no look-up of TLSA records: no output"),
        )
        for text, error in cases:
            # Only what does not end by itself is not waited for.
            patience = 5.0 if "sleep" in text else 60.0
            result = meet(nexthop, script(tmp_path, text), monkeypatch, patience)
            assert (result.ok, result.reachable, result.protocol) == (False, True, "TLSv1.3")
            assert error in (result.error or "")
            assert all(line.isprintable() and len(line) < 400 for line in result.lines())
            assert ended(pids)
        result = meet(nexthop, tmp_path / "nowhere", monkeypatch)
        assert result.error == f"posttls-finger: {tmp_path / 'nowhere'} is not to be found: is Postfix installed?"


def ended(pids: Path) -> bool:
    """Whether these processes are gone: a killed orphan takes a moment, and may wait to be collected."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(alive(int(pid)) for pid in pids.read_text().split()):
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_it_is_asked(tmp_path: Path) -> None:
    program = script(tmp_path, 'echo "$MAIL_CONFIG $*"')
    for settings, host, words in (
        ({}, "mx.koeln.example", "[mx.koeln.example]:25"),
        ({"wrapped": True}, "2001:db8::1", "-w [ipv6:2001:db8::1]:25"),
        ({"chains": ((str(program), str(program)),)}, "a.example", f"-H {program} [a.example]:25"),
        ({"chains": ((str(program), "/etc/hosts"),)}, "a.example", f"-k {program} -K /etc/hosts [a.example]:25"),
        ({"chains": (("/nowhere", "/nowhere"),)}, "a.example", "[a.example]:25"),
    ):
        client = ClientSettings("city.example", families="ipv4", **settings)
        said = asyncio.run(ask_posttls_finger(str(program), host, 25, client, "/etc/p", 9.5))
        start = "/etc/p -c -l dane-only -L verbose,summary -t 9 -T 9 -o myhostname=city.example -o inet_protocols=ipv4"
        assert said == f"{start} {words}\n"


@pytest.mark.real("postconf")
def test_what_a_service_says_of_dnssec(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\nsmtp_dns_support_level = dnssec\n")
    options = {
        "plain": ("", True, "may"),
        "blind": ("-o smtp_dns_support_level=enabled", False, "may"),
        "native": ("-o smtp_host_lookup=native", False, "may"),
        "dane": ("-o smtp_tls_security_level=dane", True, "dane"),
        "set": ("-o smtp_tls_security_level=dane -o smtp_tls_dane_insecure_mx_policy=encrypt", True, "encrypt"),
    }
    entries = (f"{name} unix - - n - - smtp {options[name][0]}\n" for name in options)
    (tmp_path / "master.cf").write_text("".join(entries))
    clients = PostfixClients(os.fspath(tmp_path))
    assert {name: (clients.settings(name).dnssec, clients.settings(name).insecure_mx) for name in options} == {
        name: found[1:] for name, found in options.items()
    }
