"""What doctor makes of what status finds: by its kind, whatever a network is called."""

import pytest
from support.network import DAY, Site

from closedmail.doctor.checks.running import Running, state_findings
from closedmail.doctor.finding import Finding
from closedmail.doctor.running_state import look_at_running, read_state
from closedmail.status.problems import Problem, ProblemKind
from closedmail.status.status import find_status

TWO = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"


def look(site: Site, *, later: int) -> list[Finding]:
    """What doctor finds of lists and keys that much later."""
    found = state_findings(site.config, look_at_running(read_state(site.config, site.now + later)))
    return [finding for finding in found if finding.id in ("no-generation", "list-age", "signing-key")]


# Words of status' sentences about fetches, keys and held domains; and one that is none.
@pytest.mark.parametrize("name", ["fetchnet", "keynet", "held", "net"])
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_age": "1d", "fetch_max_age": "90d"}, [("warning", "the list was signed", False)]),
        ({"max_age": "90d", "fetch_max_age": "1d"}, [("error", "no successful fetch since", True)]),
        (
            {"max_age": "1d", "fetch_max_age": "1d"},
            [("error", "no successful fetch since", True), ("warning", "the list was signed", False)],
        ),
    ],
)
def test_a_networks_name_is_no_sentence(
    site: Site, name: str, limits: dict[str, str], expected: list[tuple[str, str, bool]]
) -> None:
    """And a warning stays one beside what is critical."""
    site.drop("network.ndb")
    site.add_network(name, signed=True)
    site.set(name, **limits)
    site.put(TWO, network=name)
    assert not site.sync().refused
    found = look(site, later=2 * DAY)
    sync = f"closedmail --config {site.config_path} sync"
    assert [(item.id, item.severity, item.fix) for item in found] == [
        ("list-age", severity, (sync,) if fixed else ()) for severity, _, fixed in expected
    ]
    for finding, (_, begin, _) in zip(found, expected, strict=True):
        assert finding.text.startswith(f"{name}: {begin}")
    # Status says the same of each network, without its name.
    status = find_status(site.config, site.now + 2 * DAY).networks[name]
    assert [problem.sentence for problem in status.found] == [item.text.removeprefix(f"{name}: ") for item in found]
    assert status.to_json()["problems"] == [problem.sentence for problem in status.found]


KINDS: list[tuple[ProblemKind, tuple[str, ...]]] = [
    ("never-fetched", ("sync",)),
    ("fetch-clock", ("sync",)),
    ("fetch-age", ("sync",)),
    ("signature-age", ()),
]


@pytest.mark.parametrize(("kind", "arguments"), KINDS)
def test_what_another_fetch_fixes(site: Site, kind: ProblemKind, arguments: tuple[str, ...]) -> None:
    """The sentence counts for nothing."""
    running = Running(generation=1, cron=True, ages=(Problem(kind, "warning", "fetch key held", "net"),))
    (finding,) = state_findings(site.config, running)
    assert [fix.arguments for fix in finding.fixes] == [arguments] * bool(arguments)
    assert finding.text == "net: fetch key held"
