"""TLS policies: which is stricter, which can't be, and how long a row has to stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.core.model import Outbound, TlsLevel
from closedmail.routes.nexthop import mail_host
from closedmail.routes.tls_policy import Policy, Row, joint, keeps, linger, policy_of, why_impossible

assert samples  # its hypothesis profile

FINGERPRINTS = ("AA:BB", "CC:DD")


@pytest.mark.parametrize(
    ("outbound", "row"),
    [
        (Outbound("encrypt"), "encrypt"),
        (Outbound("none", tls_match=("a.example",), tls_protocols=">=TLSv1.2", tls_ciphers="high"), "none"),
        (Outbound("secure", tls_match=("a.example", ".b.example")), "secure match=a.example:.b.example"),
        (Outbound("verify", tls_match=("a.example",)), "verify match=a.example"),
        (Outbound("fingerprint", tls_match=FINGERPRINTS), "fingerprint match=AA:BB|CC:DD"),
        (
            Outbound("dane-only", tls_protocols=">=TLSv1.2", tls_ciphers="high"),
            "dane-only protocols=>=TLSv1.2 ciphers=high",
        ),
    ],
)
def test_policy(outbound: Outbound, row: str) -> None:
    """A policy as Postfix reads it, and read back."""
    assert str(policy_of(outbound)) == row
    assert Policy.parse(row) == policy_of(outbound)


ORDER = ("none", "may", "encrypt", "verify", "secure")
INCOMPARABLE = ("dane", "dane-only", "fingerprint")


@pytest.mark.parametrize("one", [*ORDER, *INCOMPARABLE])
@pytest.mark.parametrize("other", [*ORDER, *INCOMPARABLE])
def test_stricter(one: str, other: str) -> None:
    """none < may < encrypt < verify < secure, and no other pair is comparable."""
    wanted: str | None
    if one == other:
        wanted = one
    elif one in INCOMPARABLE or other in INCOMPARABLE:
        wanted = None
    else:
        wanted = max(one, other, key=ORDER.index)
    assert joint(Policy(one), Policy(other)) == (None if wanted is None else Policy(wanted))


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("secure match=a.example", "secure match=a.example", "secure match=a.example"),
        ("secure match=a.example", "secure match=b.example", None),
        ("secure match=a.example", "secure", None),
        ("encrypt", "secure match=a.example", "secure match=a.example"),
        ("encrypt protocols=TLSv1.3", "secure protocols=TLSv1.3 match=a", "secure protocols=TLSv1.3 match=a"),
        ("encrypt ciphers=high", "secure match=a", "secure match=a ciphers=high"),
        ("encrypt ciphers=high", "secure match=a ciphers=low", "secure match=a ciphers=high"),
        (
            "encrypt protocols=>=TLSv1.3 ciphers=high",
            "secure protocols=>=TLSv1.2",
            "secure protocols=>=TLSv1.3 ciphers=high",
        ),
        ("encrypt protocols=>=TLSv1.2", "encrypt ciphers=high", "encrypt protocols=>=TLSv1.2 ciphers=high"),
        ("encrypt protocols=!TLSv1", "encrypt protocols=>=TLSv1.2", "encrypt protocols=>=TLSv1.2"),
        ("encrypt protocols=TLSv1.2", "secure protocols=>=TLSv1.3", None),
        ("encrypt ciphers=null", "encrypt ciphers=high", None),
        ("dane ciphers=medium", "dane ciphers=high", "dane ciphers=high"),
        ("may protocols=>=TLSv1.2", "none", "may protocols=>=TLSv1.2"),
        ("verify match=b", "secure", "secure"),
        ("encrypt ciphers=high", "dane", None),
    ],
)
def test_attributes(one: str, other: str, wanted: str | None) -> None:
    """The stricter level must not lose what the other one demands; at one level they ask for the same name."""
    found = joint(Policy.parse(one), Policy.parse(other))
    assert found == joint(Policy.parse(other), Policy.parse(one))
    assert (None if found is None else str(found)) == wanted


@pytest.mark.parametrize(
    ("nexthop", "policy", "possible"),
    [
        ("[192.0.2.1]", "dane", False),
        ("[192.0.2.1]:25", "dane-only", False),
        ("[2001:db8::1]", "dane", False),
        ("[192.0.2.1]", "verify", False),
        ("[192.0.2.1]", "secure ciphers=high", False),
        ("[192.0.2.1]", "secure match=a.example", True),
        ("[192.0.2.1]", "verify match=a.example", True),
        ("[192.0.2.1]", "encrypt", True),
        ("[192.0.2.1]", "may", True),
        ("[192.0.2.1]", "none", True),
        ("[192.0.2.1]", "fingerprint match=AA", True),
        ("[mx.p.example]", "dane", True),
        ("mx.p.example:25", "dane-only", True),
        ("[mx.p.example]", "secure", True),
        ("mx.p.example", "verify", True),
    ],
)
def test_impossible(nexthop: str, policy: str, possible: bool) -> None:
    """dane on an address literal, and verify or secure on one without a name."""
    reason = why_impossible(mail_host(nexthop, 10), Policy.parse(policy))
    assert (reason is None) is possible
    assert reason is None or nexthop in reason


# --- What stays, and until when

LINGER = 100
HOP = "[192.0.2.1]"


def publish(rows: dict[str, Row], wanted: dict[str, str], now: int) -> dict[str, Row]:
    """The whole table after a generation that wants these policies, as the publication makes it."""
    policies = {nexthop: Policy.parse(text) for nexthop, text in wanted.items()}
    staying = linger(rows.items(), policies, now, LINGER)
    return {nexthop: staying.get(nexthop) or Row(policies[nexthop]) for nexthop in policies.keys() | staying.keys()}


Step = tuple[int, str | None, str | None]
SECURE = "secure match=a"
STRONG = "encrypt protocols=>=TLSv1.3 ciphers=high"


@pytest.mark.parametrize(
    "steps",
    [
        # time, policy wanted, policy in the table
        [(0, "encrypt", "encrypt"), (10, None, "encrypt"), (109, None, "encrypt"), (110, None, None)],
        [(0, "encrypt", "encrypt"), (10, None, "encrypt"), (50, None, "encrypt"), (110, None, None)],
        [(0, SECURE, SECURE), (10, "encrypt", SECURE), (109, "encrypt", SECURE), (110, "encrypt", "encrypt")],
        [(0, "encrypt", "encrypt"), (10, SECURE, SECURE), (20, SECURE, SECURE)],
        [(0, "encrypt", "encrypt"), (10, None, "encrypt"), (20, "encrypt", "encrypt"), (200, None, "encrypt")],
        [(0, "encrypt", "encrypt"), (10, None, "encrypt"), (20, "may", "encrypt"), (110, "may", "may")],
        [
            (0, "encrypt", "encrypt"),
            (10, None, "encrypt"),
            (20, SECURE, SECURE),
            (50, None, SECURE),
            (149, None, SECURE),
        ],
        # Not comparable: what never sends in the clear stays, and what may is made stricter
        [(0, "encrypt", "encrypt"), (10, "dane", "encrypt"), (109, "dane", "encrypt"), (110, "dane", "dane")],
        [(0, "dane-only", "dane-only"), (10, "dane", "dane-only"), (110, "dane", "dane")],
        [
            (0, "fingerprint match=A", "fingerprint match=A"),
            (10, "encrypt", "fingerprint match=A"),
            (110, "encrypt", "encrypt"),
        ],
        [(0, SECURE, SECURE), (10, "dane", SECURE), (110, "dane", "dane")],
        [(0, "dane", "dane"), (10, "encrypt", "dane-only"), (110, "encrypt", "encrypt")],
        [(0, "may", "may"), (10, "dane", "dane")],
        [(0, "encrypt", "encrypt"), (10, "dane-only", "dane-only")],
        [(0, STRONG, STRONG), (10, "encrypt", STRONG), (110, "encrypt", "encrypt")],
        [(0, STRONG, STRONG), (10, SECURE, f"{SECURE} protocols=>=TLSv1.3 ciphers=high"), (110, SECURE, SECURE)],
        [(0, SECURE, SECURE), (10, STRONG, f"{SECURE} protocols=>=TLSv1.3 ciphers=high"), (110, STRONG, STRONG)],
        [(0, "encrypt ciphers=high", "encrypt ciphers=high"), (10, "encrypt ciphers=low", "encrypt ciphers=high")],
        # Another name: the partner has another certificate
        [(0, SECURE, SECURE), (10, "secure match=b", "secure match=b")],
        # The looser row is wanted while the stricter one stays: it has its own time to stay afterwards
        [(0, SECURE, SECURE), (10, "encrypt", SECURE), (100, None, SECURE), (120, None, "some"), (199, None, "some")],
        [(0, SECURE, SECURE), (10, "encrypt", SECURE), (100, "may", SECURE), (199, "may", "some"), (300, "may", "may")],
        [(0, SECURE, SECURE), (10, "encrypt", SECURE), (100, None, SECURE), (300, None, None)],
    ],
)
def test_linger(steps: list[Step]) -> None:
    """No row goes or is loosened before its time is over, and then it does ("some": at least encrypted)."""
    rows: dict[str, Row] = {}
    for now, wanted, stands in steps:
        rows = publish(rows, {} if wanted is None else {HOP: wanted}, now)
        found = str(rows[HOP].policy) if HOP in rows else None
        assert found in ("encrypt", SECURE) if stands == "some" else found == stands, now


POLICIES = st.builds(
    lambda level, protocols, ciphers: Policy(level, (*protocols, *ciphers)),
    st.sampled_from([*ORDER, *INCOMPARABLE]),
    st.sampled_from([(), ("protocols=>=TLSv1.2",), ("protocols=>=TLSv1.3",), ("protocols=TLSv1.2",)]),
    st.sampled_from([(), ("ciphers=medium",), ("ciphers=high",)]),
)


@given(POLICIES, POLICIES)
def test_replaced(old: Policy, new: Policy) -> None:
    """Whatever is wanted next, for its time a row gives up nothing, and a joint policy gives up nothing of either."""
    rows = linger([(HOP, Row(old))], {HOP: new}, 10, LINGER)
    stands = rows[HOP].policy if rows else new
    assert keeps(stands, old)
    assert linger([(HOP, Row(stands, 110, new))], {HOP: new}, 110, LINGER) == {}
    both = joint(old, new)
    assert both is None or (keeps(both, old) and keeps(both, new))


WANTS = st.lists(st.tuples(st.integers(1, 60), st.sampled_from([None, *ORDER])), min_size=1, max_size=8)


@given(WANTS)
def test_never_loosened_too_early(wants: list[tuple[int, TlsLevel | None]]) -> None:
    """At any time the row is at least as strict as all that a route wanted within the time that rows stay."""
    rows: dict[str, Row] = {}
    now, wanted_until = 0, dict[str, int]()
    last: str | None = None
    for wait, level in wants:
        now += wait
        if last is not None:
            wanted_until[last] = now  # mail got this nexthop until just now
        rows = publish(rows, {} if level is None else {HOP: level}, now)
        last = level
        recent = [known for known, until in wanted_until.items() if now < until + LINGER]
        recent += [level] if level is not None else []
        if recent:
            assert HOP in rows
            assert ORDER.index(rows[HOP].policy.level) >= max(map(ORDER.index, recent))


@given(WANTS)
def test_everything_ends(wants: list[tuple[int, TlsLevel | None]]) -> None:
    """Once nothing changes any more, the table is what is wanted, and tells before when that will be."""
    rows: dict[str, Row] = {}
    now, level = 0, None
    for wait, level in wants:
        now += wait
        rows = publish(rows, {} if level is None else {HOP: level}, now)
    wanted = {} if level is None else {HOP: str(level)}
    for _ in range(len(ORDER)):
        due = max((row.until for row in rows.values()), default=0)
        assert due <= now + LINGER
        now = max(now, due)
        rows = publish(rows, wanted, now)
    assert rows == {nexthop: Row(Policy.parse(text)) for nexthop, text in wanted.items()}
