"""Values of old rows: Postfix's and a mailertable's, one meaning."""

import pytest

from closedmail.maps.row_value import parse_row_value


@pytest.mark.parametrize(
    ("value", "kind", "hosts"),
    [
        ("smtp:[192.0.2.1]", "route", "[192.0.2.1]"),
        ("smtp:[192.0.2.1]:25", "route", "[192.0.2.1]"),
        ("smtp:[192.0.2.1]:smtp", "route", "[192.0.2.1]"),
        ("smtp:[192.0.2.1]:2525", "route", "[192.0.2.1]:2525"),
        ("ndb:[192.0.2.1]:25", "route", "[192.0.2.1]"),
        ("smtp:[192.0.2.1]:25, [192.0.2.2]:26", "route", "[192.0.2.1] [192.0.2.2]:26"),
        ("smtp:[192.0.2.1] [192.0.2.2]", "route", "[192.0.2.1] [192.0.2.2]"),
        ("esmtp:[192.0.2.1]:[192.0.2.2]", "route", "[192.0.2.1] [192.0.2.2]"),
        ("esmtp:[192.0.2.1],[192.0.2.2]", "route", "[192.0.2.1] [192.0.2.2]"),
        ("esmtp:[IPv6:2001:db8::1]", "route", "[2001:db8::1]"),
        ("smtp:[2001:db8::1]:25", "route", "[2001:db8::1]"),
        ("smtp:mx.p.example", "route", "mx.p.example"),
        ("smtp:mx.p.example:smtp", "route", "mx.p.example"),
        ("smtp:[mx.p.example]:587", "route", "[mx.p.example]:587"),
        ("smtp:Mx.P.Example", "route", "mx.p.example"),
        ("error:5.1.2 gone", "error", ""),
        ("error:5.1.2:550 gone", "error", ""),
        ("error:mailbox unavailable", "error", ""),
        ("error:4.7.0:450 later", "held", ""),
        ("retry:4.3.2 held", "held", ""),
        (":", "other", ""),
        (":[192.0.2.1]", "other", ""),
        ("", "other", ""),
        ("smtp", "other", ""),
        ("smtp:", "other", ""),
        ("relay:", "other", ""),
        ("local:joe", "other", ""),
        ("discard:", "other", ""),
        ("virtual:", "other", ""),
        ("smtp:192.0.2.1", "other", ""),
        ("smtp:[192.0.2.999]", "other", ""),
    ],
)
def test_a_value(value: str, kind: str, hosts: str) -> None:
    found = parse_row_value(value)
    assert (found.kind, " ".join(map(str, found.hosts))) == (kind, hosts)
    assert bool(found.reason) is (kind == "other")
