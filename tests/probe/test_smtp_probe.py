"""The session that only looks: what it says, in what order, and that nothing a server sends leads it astray."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedmail.probe.smtp_probe import MOST_BYTES, NextStep, SmtpProbe

GREETING = b"220 mx.koeln.example ESMTP\r\n"
EHLO = b"250-mx.koeln.example\r\n250-SIZE 1000\r\n250 STARTTLS\r\n"
PLAIN_EHLO = b"250-mx.koeln.example\r\n250-XSTARTTLS\r\n250 SIZE STARTTLS\r\n"


def talk(probe: SmtpProbe, *replies: bytes, handshake: bool = True) -> list[str]:
    """Give the replies one after the other; the commands that were sent."""
    said: list[str] = []
    waiting = list(replies)
    for _ in range(500):
        said += probe.outgoing().decode().splitlines()
        if probe.step is NextStep.HANDSHAKE and handshake:
            said.append("(handshake)")
            probe.encrypted()
        elif probe.step is NextStep.READ and waiting:
            probe.receive(waiting.pop(0))
        else:
            break
    return said


def test_a_whole_session() -> None:
    probe = SmtpProbe("city.example", use_tls=True)
    said = talk(probe, GREETING, EHLO, b"220 go\r\n", EHLO, b"221 bye\r\n")
    assert said == ["EHLO city.example", "STARTTLS", "(handshake)", "EHLO city.example", "QUIT"]
    assert (probe.error, probe.offered, probe.in_tls, probe.step) == (None, True, True, NextStep.DONE)


def test_tls_before_all_else() -> None:
    probe = SmtpProbe("city.example", use_tls=True, wrapped=True)
    said = talk(probe, GREETING, PLAIN_EHLO, b"221 bye\r\n")
    assert said == ["(handshake)", "EHLO city.example", "QUIT"]
    assert (probe.error, probe.offered, probe.in_tls) == (None, True, True)


@pytest.mark.parametrize(
    ("use_tls", "ehlo", "offered"),
    [(False, EHLO, True), (True, PLAIN_EHLO, False), (True, b"250 STARTTLS\r\n", False), (False, PLAIN_EHLO, False)],
)
def test_no_tls_where_none_is_wanted_or_offered(use_tls: bool, ehlo: bytes, offered: bool) -> None:
    """The first line of the reply to EHLO is the server's name, whatever that is."""
    probe = SmtpProbe("city.example", use_tls=use_tls)
    assert talk(probe, GREETING, ehlo, b"221 bye\r\n") == ["EHLO city.example", "QUIT"]
    assert (probe.error, probe.offered, probe.in_tls) == (None, offered, False)


def test_helo_where_ehlo_is_unknown() -> None:
    probe = SmtpProbe("city.example", use_tls=True)
    said = talk(probe, b"220 old\r\n", b"502 what?\r\n", b"250 hello\r\n", b"221 bye\r\n")
    assert said == ["EHLO city.example", "HELO city.example", "QUIT"]
    assert (probe.error, probe.offered) == (None, False)


@pytest.mark.parametrize(
    "ehlo", [b"250-a\r\n250-starttls\r\n250 X\r\n", b"250-a\n250 STARTTLS\n", b"250-a\r\n250-STARTTLS x\r\n250\r\n"]
)
def test_offers_of_starttls(ehlo: bytes) -> None:
    probe = SmtpProbe("city.example", use_tls=True)
    assert talk(probe, GREETING, ehlo)[-1] == "STARTTLS"


def test_starttls_that_is_refused() -> None:
    probe = SmtpProbe("city.example", use_tls=True)
    assert talk(probe, GREETING, EHLO, b"454 not now\r\n", b"221 bye\r\n")[-1] == "QUIT"
    assert probe.refused_tls == "the server refused STARTTLS: 454 not now"
    assert probe.error is None


def test_what_comes_before_the_handshake_counts_for_nothing() -> None:
    """Else whoever is in between could answer in the place of the server (CVE-2011-0411, the other way round)."""
    probe = SmtpProbe("city.example", use_tls=True)
    said = talk(probe, GREETING, EHLO, b"220 go\r\n554 injected\r\n", EHLO, b"221 bye\r\n")
    assert said == ["EHLO city.example", "STARTTLS", "(handshake)", "EHLO city.example", "QUIT"]
    assert probe.error is None


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ([b""], "the server closed the connection in place of a greeting"),
        ([b"554 go away\r\n"], "the server answered in place of a greeting: 554 go away"),
        ([b"554-go\r\n554 away\r\n"], "the server answered in place of a greeting: 554 away"),
        ([b"\x16\x03\x01\x00\r\n"], "the server sent what is no SMTP reply in place of a greeting: "),
        ([b"220-a\r\n250 b\r\n"], "the server sent what is no SMTP reply in place of a greeting: 250 b"),
        ([b"2200 a\r\n"], "the server sent what is no SMTP reply in place of a greeting: 2200 a"),
        ([b"x" * (MOST_BYTES + 1)], "the server sent more than 64 KiB in place of a greeting"),
        ([GREETING, b""], "the server closed the connection after EHLO"),
        ([GREETING, b"421 busy\r\n"], "the server answered after EHLO: 421 busy"),
        ([GREETING, b"502 what\r\n", b"502 what\r\n"], "the server answered after EHLO: 502 what"),
        ([GREETING, *[b"250-X\r\n" * 1000] * 20], "the server sent more than 64 KiB after EHLO"),
        ([GREETING, EHLO, b""], "the server closed the connection after STARTTLS"),
        ([GREETING, EHLO, b"220 go\r\n", b""], "the server closed the connection after EHLO inside of TLS"),
        (
            [GREETING, EHLO, b"220 go\r\n", b"550 no\r\n", b"550 no\r\n"],
            "the server answered after EHLO inside of TLS: 550 no",
        ),
    ],
)
def test_servers_that_do_not_behave(replies: list[bytes], error: str) -> None:
    probe = SmtpProbe("city.example", use_tls=True)
    talk(probe, *replies)
    assert probe.error is not None
    assert probe.error.startswith(error)
    assert probe.over


def test_after_quit_nothing_counts() -> None:
    for last in (b"", b"554 no\r\n", b"garbage\r\n", b"x" * (MOST_BYTES + 1)):
        probe = SmtpProbe("city.example", use_tls=False)
        talk(probe, GREETING, EHLO, last)
        assert (probe.error, probe.step) == (None, NextStep.DONE)


@given(
    st.lists(
        st.binary(max_size=200) | st.sampled_from([GREETING, EHLO, b"220 go\r\n", b"221 bye\r\n", b""]), max_size=30
    ),
    st.booleans(),
)
def test_it_never_says_anything_else(replies: list[bytes], wrapped: bool) -> None:
    """Whatever comes, in whatever pieces: no mail is begun, and the session comes to an end with the connection."""
    probe = SmtpProbe("city.example", use_tls=True, wrapped=wrapped)
    said = talk(probe, *replies, b"")
    assert set(said) <= {"EHLO city.example", "HELO city.example", "STARTTLS", "QUIT", "(handshake)"}
    assert said.count("STARTTLS") <= 1
    assert probe.step is NextStep.DONE
    assert probe.error is None or probe.error.isprintable()


@given(st.integers(1, 60))
def test_pieces_make_no_difference(size: int) -> None:
    whole = GREETING + EHLO
    probe = SmtpProbe("city.example", use_tls=True)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert talk(probe, *pieces)[-1] == "STARTTLS"
