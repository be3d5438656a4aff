"""Whatever a domain is held for: every export can be made, and says that its mail waits."""

import csv
import io
import json

import pytest
from hypothesis import Phase, given, settings
from support.core_samples import LONG_ROUTE, advance, configuration, in_force
from support.export_samples import TABLES, configurations, published, text_of, texts_of

from closedmail.core.hold_reason import Why
from closedmail.core.model import Config
from closedmail.core.record import State
from closedmail.exports import dns
from closedmail.exports.target import ExportRequest, Form
from closedmail.exports.targets import TARGETS
from closedmail.routes.sendmail_route import LONGEST_VALUE

KEY = "held.zone.example"
TABLE = f"{KEY} esmtp:[192.0.2.1]\nother.zone.example esmtp:[192.0.2.2]\n"
DNS_SERVERS = {"ndb": ("192.0.2.53",)}
FORMS: list[tuple[str, Form]] = [(name, form) for name, target in TARGETS.items() for form in target.forms]
# One has senders only, the other leaves to its relay what is routed, held or refused.
NOT_ROUTED_HERE = ("postfix-native", "exchange-online")
HELD = "mail for this domain is held"
REPLIES = {
    Why.NOTHING: f"error:4.3.2:450 {HELD}",
    Why.LOST: f"error:4.3.2:450 {HELD}: the list of its closed network has lost it",
    Why.UNCLEAR: f"error:4.3.2:450 {HELD}: its line in the closed network's list is not understood",
    Why.TLS: f"error:4.7.5:450 {HELD}: its TLS policy can not be met",
    Why.FOLDED: f"error:4.3.2:450 {HELD}: its spelling is also that of another domain",
    Why.ROUTE: f"error:4.3.5:450 {HELD}: its route is too long",
    Why.FAMILY: f"error:4.4.4:450 {HELD}: its route needs an IP version that this gateway does not use",
}


def exported(name: str, form: Form, config: Config, table: str, why: Why | None = None) -> str:
    """All files of an export, one after the other."""
    made = published(config, table, holds={} if why is None else {KEY: why}, dns_servers=DNS_SERVERS)
    request = ExportRequest(form, "/etc/closedmail-export", relays=("relay.city.example",))
    return "".join(texts_of(TARGETS[name], made, request=request).values())


@pytest.mark.parametrize("why", Why)
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_export_has_a_held_domain(name: str, form: Form, why: Why) -> None:
    """Whatever the reason is, it is in the file, and all reasons but their words give the same file."""
    text = exported(name, form, configuration(), TABLE, why)
    assert KEY in text
    expected = exported(name, form, configuration(), TABLE, Why.UNCLEAR)
    assert text.replace(REPLIES[why], REPLIES[Why.UNCLEAR]) == expected
    assert (text == exported(name, form, configuration(), TABLE)) == (name in NOT_ROUTED_HERE)


@pytest.mark.parametrize("why", Why)
def test_the_words_for_it(why: Why) -> None:
    made = published(configuration(), TABLE, holds={KEY: why})
    assert f"{KEY}\t{REPLIES[why]}" in text_of(TARGETS["mailertable"], made).splitlines()
    assert json.loads(text_of(TARGETS["json"], made))["domains"][KEY] == {
        "state": "held",
        "rule": "network.ndb",
        "mailertable": REPLIES[why],
    }
    rows = csv.DictReader(io.StringIO(text_of(TARGETS["csv"], made), newline=""))
    (row,) = (row for row in rows if row["domain"] == KEY)
    assert (row["state"], row["mailertable"], row["hosts"]) == ("held", REPLIES[why], "")
    assert dict(dns.answers(made))[KEY] == dns.WAIT


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_route_that_is_too_long_for_sendmail(name: str, form: Form) -> None:
    """One such line of a list ends no export: its domain is held, all others are routed."""
    assert len(LONG_ROUTE) > LONGEST_VALUE
    table = TABLE.replace("esmtp:[192.0.2.1]", LONG_ROUTE)
    text = exported(name, form, configuration(sendmail=True), table)
    assert text == exported(name, form, configuration(), TABLE, Why.ROUTE)
    assert "hosting.example" not in text


def test_the_samples_have_sendmail_and_every_reason() -> None:
    """What the property tests of exports are given comes to each reason by itself, but for the one of nothing."""
    configured: set[bool] = set()
    reasons: set[Why] = set()

    @settings(max_examples=300, phases=[Phase.generate])
    @given(configurations(), TABLES, TABLES)
    def look(config: Config, before: str, now: str) -> None:
        generation = advance(config, now, previous=in_force(advance(config, before)))
        configured.add(config.sendmail is not None)
        reasons.update(entry.why for _, entry in generation.entries() if entry.state is State.HELD)

    look()
    assert configured == {True, False}
    assert reasons == set(Why) - {Why.NOTHING}
