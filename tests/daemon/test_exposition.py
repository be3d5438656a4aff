"""The text format of Prometheus: whatever stands in a label comes back from prometheus_client's parser as it was."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from closedmail.daemon.exposition import Family, exposition

# The parser takes lines apart with str.split("\n"), and the format has no other characters that need care.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXTS, st.integers(0, 2**53)), TEXTS.filter(lambda text: text == " ".join(text.split())))
def test_every_label_comes_back(values: dict[str, int], what: str) -> None:
    family = Family("closedmail_x", "gauge", what or "x")
    for label, value in values.items():
        family.add(value, network=label, code="a")
    found = list(text_string_to_metric_families(exposition([family])))
    if not values:
        assert found == []
        return
    (one,) = found
    assert (one.name, one.type, one.documentation) == ("closedmail_x", "gauge", what or "x")
    assert {sample.labels["network"]: sample.value for sample in one.samples} == values
    assert {sample.labels["code"] for sample in one.samples} == {"a"}


def test_the_text() -> None:
    mails = Family("closedmail_mails_total", "counter", "Mails.\nCounted.")
    mails.add(12345678901234567, network='a"b\\c\nd')
    plain = Family("closedmail_state", "gauge", "State.")
    plain.add(1)
    assert exposition([mails, Family("closedmail_empty", "gauge", "Nothing."), plain]) == (
        "# HELP closedmail_mails_total Mails.\\nCounted.\n"
        "# TYPE closedmail_mails_total counter\n"
        'closedmail_mails_total{network="a\\"b\\\\c\\nd"} 12345678901234567\n'
        "# HELP closedmail_state State.\n"
        "# TYPE closedmail_state gauge\n"
        "closedmail_state 1\n"
    )
