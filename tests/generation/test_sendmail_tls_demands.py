"""What Sendmail is to demand of TLS: never less than a route does, whatever lies above or below its domain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import DAY, NOW, advance, configuration, held, in_force, network

from closedmail.core.domain import parents
from closedmail.core.model import Config, Inbound, Outbound, Partner, PostfixMaps, SendmailMaps, TlsLevel
from closedmail.generation.generation import Generation
from closedmail.generation.sendmail_tls_demands import recipient_policies, recipient_policy
from closedmail.maps.sendmail_access import access_rows, requirement
from closedmail.maps.sendmail_linger import DemandsInForce, staying_recipients
from closedmail.routes.delivery import route_of
from closedmail.routes.sendmail_limits import why_refused
from closedmail.routes.tls_policy import Policy, Row

ROUTE = "esmtp:[192.0.2.1]"


def with_partners(demands: dict[str, Outbound], **networks: Outbound) -> Config:
    """A configuration for Sendmail: each key is a partner with that demand."""
    partners = tuple(Partner(key, Inbound("off"), outbound, route=ROUTE) for key, outbound in demands.items())
    made = tuple(network(name, outbound) for name, outbound in networks.items())
    return Config("", configuration().gateway, sendmail=SendmailMaps(), networks=made, partners=partners)


def policies(generation: Generation) -> dict[str, Policy]:
    return recipient_policies(generation.entries(), generation.rules)


def access(generation: Generation) -> dict[str, str]:
    return dict(access_rows(policies(generation), {}, {}))


@pytest.mark.parametrize(
    ("level", "match", "value", "expected"),
    [
        ("none", (), ROUTE, "may"),
        ("may", (), ROUTE, "may"),
        ("encrypt", (), ROUTE, "ENCR:128"),
        ("secure", ("MX.a.example",), ROUTE, "VERIFY:128+CN:mx.a.example"),
        ("verify", ("mx.a.example",), "smtp:b.example:c.example", "VERIFY:128+CN:mx.a.example"),
        ("verify", (), "smtp:[mx.a.example]", "VERIFY:128+CN:mx.a.example"),
        ("verify", (), "smtp:a.example", "VERIFY:128+CN"),
        ("verify", (), "smtp:a.example:b.example", "VERIFY:128+CN"),
        ("verify", (), "smtp:[mx.a.example]:b.example", None),
        ("secure", (), "smtp:a.example", "VERIFY:128+CN:a.example"),
        ("secure", (), "smtp:[mx.a.example]", "VERIFY:128+CN:mx.a.example"),
        ("secure", (), "smtp:a.example:b.example", None),
        ("verify", (), "smtp:[2001:db8::1]", None),
        ("secure", (), "smtp:a.example:[192.0.2.1]", None),
    ],
)
def test_levels(level: TlsLevel, match: tuple[str, ...], value: str, expected: str | None) -> None:
    outbound = Outbound(level, tls_match=match)
    found = recipient_policy(route_of(value, outbound), outbound)
    if isinstance(found, str):
        assert expected is None
        assert "tls_match" in found
    else:
        assert (found.level if found.level == "may" else requirement(found)) == expected
        assert Policy.parse(str(found)) == found


@pytest.mark.parametrize(
    ("outbound", "key"),
    [
        (Outbound("may", port=25, smarthost=("a.example:25",)), None),
        (Outbound("may", port=587), "port"),
        (Outbound("may", smarthost=("[2001:db8::1]", "[2001:db8::2]:26")), "smarthost[1]"),
        (Outbound("dane-only"), "tls"),
        (Outbound("fingerprint", tls_match=("AA",)), "tls"),
        (Outbound("encrypt", tls_protocols=">=TLSv1.2"), "tls_protocols"),
        (Outbound("encrypt", tls_ciphers="high"), "tls_ciphers"),
        (Outbound("secure", tls_match=("a.example", "b.example")), "tls_match"),
        (Outbound("secure", tls_match=("nexthop",)), "tls_match"),
        (Outbound("secure", tls_match=(".a.example",)), "tls_match"),
        (Outbound("secure", transport="ndb"), "transport"),
    ],
)
def test_what_can_not_be_demanded(outbound: Outbound, key: str | None) -> None:
    config = with_partners({"a.example": outbound}, ndb=Outbound("may"))
    found = why_refused(config)
    assert (found and found[0]) == (key and f'partner."a.example".outbound.{key}')
    both = Config("", config.gateway, PostfixMaps(), SendmailMaps(), partners=config.partners)
    assert (why_refused(both) is None) == (key in (None, "transport"))


ENCRYPT, MAY = Outbound("encrypt"), Outbound("may")
NAME_A, NAME_B = (Outbound("secure", tls_match=(f"{name}.mx.example",)) for name in "ab")
CN_A, CN_B = (f"VERIFY:128+CN:{name}.mx.example" for name in "ab")


@pytest.mark.parametrize(
    ("demands", "rows", "waiting"),
    [
        # x itself goes by its MX records, as if there were no row, and its row is for what is below.
        ({".x.example": ENCRYPT}, {"x.example": "ENCR:128"}, []),
        ({".x.example": NAME_B, ".a.x.example": NAME_A}, {"x.example": CN_B}, [".a.x.example"]),
        ({".x.example": NAME_B, ".a.x.example": ENCRYPT}, dict.fromkeys(("x.example", "a.x.example"), CN_B), []),
        ({"x.example": ENCRYPT}, {"x.example": "ENCR:128"}, []),
        ({"x.example": MAY, ".x.example": MAY}, {}, []),
        # A partner below another one that is asked for more.
        ({"x.example": ENCRYPT, "a.x.example": MAY}, {"x.example": "ENCR:128", "a.x.example": "OK"}, []),
        ({"x.example": MAY, "a.x.example": ENCRYPT}, {"a.x.example": "ENCR:128"}, []),
        # What is below a.x goes by the row for .x, and must not be lifted with it.
        ({".x.example": ENCRYPT, "a.x.example": MAY}, dict.fromkeys(("x.example", "a.x.example"), "ENCR:128"), []),
        (
            {".x.example": ENCRYPT, "a.x.example": MAY, ".a.x.example": MAY},
            {"x.example": "ENCR:128", "a.x.example": "OK"},
            [],
        ),
        ({"x.example": MAY, ".x.example": NAME_A}, {"x.example": CN_A}, []),
        ({"x.example": NAME_A, ".x.example": NAME_A}, {"x.example": CN_A}, []),
        ({"x.example": NAME_A, ".x.example": NAME_B}, {}, [".x.example", "x.example"]),
        ({"a.x.example": NAME_A, ".x.example": NAME_B}, {"x.example": CN_B}, ["a.x.example"]),
        ({"a.x.example": NAME_A, "x.example": NAME_B}, {"x.example": CN_B, "a.x.example": CN_A}, []),
    ],
)
def test_names_above_and_below(demands: dict[str, Outbound], rows: dict[str, str], waiting: list[str]) -> None:
    generation = advance(with_partners(demands))
    assert access(generation) == {f"TLS_Rcpt:{name}": value for name, value in rows.items()}
    assert held(generation) == waiting


def test_the_administrators_rows_are_what_a_partner_is_lifted_to() -> None:
    generation = advance(with_partners({"x.example": ENCRYPT, "a.x.example": MAY}))
    for own, lifted in (({"tls_rcpt:": "VERIFY"}, "VERIFY"), ({"tls_rcpt:x.example": "ENCR:256"}, "ENCR:256")):
        rows = dict(access_rows(policies(generation), {}, own))
        assert rows["TLS_Rcpt:a.x.example"] == lifted
        assert ("TLS_Rcpt:x.example" in rows) == ("tls_rcpt:x.example" not in own)


def test_a_network_with_sendmail_alone_has_no_conflict_of_nexthops() -> None:
    """Postfix has one policy for each nexthop, Sendmail one for each recipient."""
    demands = {"x.example": NAME_A, "y.example": NAME_B}
    assert held(advance(with_partners(demands))) == []
    config = with_partners(demands)
    both = Config("", config.gateway, PostfixMaps(), SendmailMaps(), partners=config.partners)
    assert held(advance(both)) == ["x.example", "y.example"]


OUTBOUNDS = {"may": MAY, "encrypt": ENCRYPT, "a": NAME_A, "b": NAME_B}
WORTH = {"may": "", "encrypt": "ENCR:128", "a": CN_A, "b": CN_B}
NAMES = ["x.example", "a.x.example", "b.x.example", "a.b.x.example", "c.a.b.x.example", "y.example"]
KEYS = NAMES + ["." + name for name in NAMES]
CHOICES = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(sorted(OUTBOUNDS)), max_size=8)


def demanded(generation: Generation, choices: dict[str, str], name: str) -> str | None:
    """What the route by which Sendmail sends mail to a name demands, None where it doesn't send it by ours."""
    for key in (name, *("." + parent for parent in parents(name))):
        if generation.get(key):
            entry = generation.get(key)
            return WORTH[choices[key]] if entry and entry.in_force else None
    return None


def found_by_sendmail(rows: dict[str, str], name: str) -> str:
    """The row that rule set tls_rcpt finds, "" where it accepts."""
    for above in (name, *parents(name)):
        if f"TLS_Rcpt:{above}" in rows:
            return rows[f"TLS_Rcpt:{above}"].replace("OK", "")
    return ""


def satisfied(wanted: str, found: str) -> bool:
    return not wanted or found == wanted or (wanted == "ENCR:128" and found.startswith("VERIFY"))


@given(CHOICES)
def test_no_route_without_its_demand(choices: dict[str, str]) -> None:
    generation = advance(with_partners({key: OUTBOUNDS[choice] for key, choice in choices.items()}))
    rows = access(generation)
    for name in (*NAMES, *("z." + name for name in NAMES)):
        wanted = demanded(generation, choices, name)
        if wanted is not None:
            assert satisfied(wanted, found_by_sendmail(rows, name)), (name, rows)


@given(CHOICES, CHOICES, st.integers(0, 2 * DAY))
def test_no_route_without_its_demand_while_it_changes(old: dict[str, str], new: dict[str, str], later: int) -> None:
    """The new rows are in force before the new routes, and long after the old ones."""
    before = advance(with_partners({key: OUTBOUNDS[choice] for key, choice in old.items()}))
    config = with_partners({key: OUTBOUNDS[choice] for key, choice in new.items()})
    after = advance(config, previous=in_force(before), now=NOW + 1)
    demands = DemandsInForce.of(before.entries(), before.rules, {}, policies(after))
    staying = staying_recipients(demands, policies(after), NOW + 1, DAY)
    rows = dict(access_rows(policies(after), staying, {}))
    for name in (*NAMES, *("z." + name for name in NAMES)):
        found = found_by_sendmail(rows, name)
        wanted = demanded(after, new, name)
        assert wanted is None or satisfied(wanted, found), (name, rows)
        wanted = demanded(before, old, name)
        if wanted is not None:  # where one name follows another, the new one stands at once
            assert satisfied(wanted, found) or {wanted, found} == {CN_A, CN_B}, (name, rows)
    demands = DemandsInForce.of(after.entries(), after.rules, staying, policies(after))
    kept = staying_recipients(demands, policies(after), NOW + 1 + later, DAY)
    assert kept == ({} if later >= DAY else staying)


@given(st.lists(CHOICES, min_size=2, max_size=4))
def test_no_route_without_its_demand_for_a_day(history: list[dict[str, str]]) -> None:
    """Several changes within a day: a delivery may have looked its route up before the last one.

    Before the one before that, a suffix may be forgotten that has gone while its domain stayed (docs/design.md).
    """
    generations: list[Generation] = []
    demands = DemandsInForce()
    staying: dict[str, Row] = {}
    for number, choices in enumerate(history):
        config = with_partners({key: OUTBOUNDS[choice] for key, choice in choices.items()})
        before = generations[-1] if generations else None
        after = advance(config, previous=in_force(before) if before else None, now=NOW + number)
        wanted = policies(after)
        if before:
            demands = DemandsInForce.of(before.entries(), before.rules, staying, wanted)
        staying = staying_recipients(demands, wanted, NOW + number, DAY)
        generations.append(after)
        rows = dict(access_rows(wanted, staying, {}))
        for generation, then in list(zip(generations, history, strict=False))[-2:]:
            for name in (*NAMES, *("z." + name for name in NAMES)):
                demand, found = demanded(generation, then, name), found_by_sendmail(rows, name)
                newest = generation is after
                named = demand in (CN_A, CN_B) and found.startswith("VERIFY")
                assert demand is None or satisfied(demand, found) or (named and not newest), (name, rows)
