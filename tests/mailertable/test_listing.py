"""What is taken from a list, what is skipped by rule, and what is bad: with number, text and reason."""

import io

import pytest
from support.core_samples import admission, read

from closedmail.mailertable.grammar import MailertableError
from closedmail.mailertable.listing import SMARTHOST, Listing
from closedmail.mailertable.reader import read_csv, read_domains

GOOD = "good.example esmtp:[192.0.2.1]\n"


@pytest.mark.parametrize(
    "key",
    [
        *("city.example", ".city.example", "mail.city.example", ".mail.city.example", "CITY.example"),
        *("com", ".com", "co.uk", ".co.uk", "example", ".example", "anything.ck", "公司.cn", "xn--55qx5d.cn"),
    ],
)
@pytest.mark.parametrize("value", ["esmtp:[192.0.2.1]", "error:5.7.1:no", "[192.0.2.9]", "esmtp:", "local:joe"])
def test_never_taken(key: str, value: str) -> None:
    """Own domains and public suffixes are skipped by rule, however bad the line: never held, not counted."""
    listing = read(f"{key} {value}\n")
    assert listing.entries == {}
    assert listing.unclear == {}
    assert listing.bad_lines == 0
    assert [(item.line, item.bad) for item in listing.skipped] == [(1, False)]
    assert "never taken from a list" in listing.skipped[0].reason


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        *(("www.ck", True), ("city.kobe.jp", True), ("a.co.uk", True), ("github.io", True), ("notcity.example", True)),
        *(("_a.example", True), ("a.anything.ck", True)),
    ],
)
def test_taken(key: str, taken: bool) -> None:
    """What only looks like an own domain or a public suffix is taken."""
    assert (key in read(f"{key} esmtp:[192.0.2.1]\n").entries) is taken


@pytest.mark.parametrize("key", ["city.example", ".city.example", "co.uk", ".com", "example"])
def test_admitted(key: str) -> None:
    """A [partner] table admits its key, and no other."""
    line = f"{key} esmtp:[192.0.2.1]\n"
    assert read(line, admitted=[key]).entries == {key: "esmtp:[192.0.2.1]"}
    other = key.removeprefix(".") if key.startswith(".") else "." + key
    assert read(line, admitted=[other]).entries == {}


@pytest.mark.parametrize("line", [". smtp:fallback.example\n", ".\tsmtp:fallback.example\n", ".\n", ". esmtp:\r\n"])
def test_catch_all(line: str) -> None:
    """The catch-all is skipped by rule."""
    listing = read(GOOD + line)
    assert list(listing.entries) == ["good.example"]
    assert [(item.line, item.bad) for item in listing.skipped] == [(2, False)]
    assert "catch-all" in listing.skipped[0].reason


@pytest.mark.parametrize("value", ["local:joe", "procmail:/etc/x", "prog:x y", "*file*:/x"])
def test_local_mailers(value: str) -> None:
    """Mailers that run programs or deliver locally are skipped by rule."""
    listing = read(f"a.example {value}\n")
    assert (listing.entries, listing.unclear, listing.bad_lines, listing.rows) == ({}, {}, 0, 1)


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        ("bund.example", True),
        ("BUND.example", True),
        (".bund.example", False),
        ("bmi.bund.example", False),
        ("xbund.example", False),
        ("nrw.example", False),
        (".nrw.example", True),
        ("essen.nrw.example", True),
        (".essen.nrw.example", True),
        ("mail.essen.NRW.example", True),
        ("xnrw.example", False),
        ("gmail.example", False),
        ("city.nrw.example", False),  # an own domain
        (".nrw.example.com", False),
    ],
)
@pytest.mark.parametrize("value", ["esmtp:[192.0.2.1]", "esmtp:[127.0.0.1]", "esmtp:"])
def test_within(key: str, taken: bool, value: str) -> None:
    """`x` stands for x itself, `.x` for all below it; nothing else is taken, counted as bad or held."""
    text = f"{key} {value}\n"
    listing = read(text, within=["bund.example", ".nrw.example"], own=["city.nrw.example"])
    bad = taken and value != "esmtp:[192.0.2.1]"
    assert (len(listing.entries), len(listing.unclear)) == (taken and not bad, bad)
    assert [item.bad for item in listing.skipped] == ([] if taken and not bad else [bad])
    assert listing.rows == 1
    if not taken and key != "city.nrw.example":
        assert listing.skipped[0].reason == "outside of what may be taken from this list (within)"
        assert read(text).entries.keys() | read(text).unclear.keys() == {key.lower()}


def test_within_and_partners() -> None:
    """A [partner] table admits own domains and public suffixes, and widens no bounds."""
    text = "city.example esmtp:[192.0.2.1]\nco.uk esmtp:[192.0.2.1]\n"
    assert read(text, admitted=["city.example", "co.uk"], within=["city.example"]).entries.keys() == {"city.example"}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("esmtp:[127.0.0.1]", "a loopback address"),
        ("esmtp: [ipv6:::ffff:127.0.0.1]", "a loopback address"),
        ("esmtp:[192.0.2.1],localhost", "which is this host"),
        ("esmtp:[192.0.2.9]", "an address of this host"),
        ("smtp:mx", "a name without its domain"),
    ],
)
def test_routes_to_nowhere(value: str, told: str) -> None:
    """A bad line like others: counted, its domain held, and another line for the domain counts."""
    listing = read(f"a.example {value}\n", ours=["192.0.2.9"])
    assert (listing.entries, list(listing.unclear), listing.bad_lines, listing.rows) == ({}, ["a.example"], 1, 1)
    assert listing.skipped[0].reason.endswith(told)
    listing = read(f"a.example {value}\n{A1}", ours=["192.0.2.9"])
    assert (listing.entries, listing.unclear, listing.bad_lines) == ({"a.example": "esmtp:[192.0.2.1]"}, {}, 1)
    own = read(f"city.example {value}\n", ours=["192.0.2.9"])
    assert (own.unclear, own.bad_lines, own.entries) == ({}, 0, {})


A1, A2 = "a.example esmtp:[192.0.2.1]\n", "a.example esmtp:[192.0.2.2]\n"


@pytest.mark.parametrize(
    ("text", "bad", "unclear"),
    [
        (A1 + A1, [], set()),
        (A1 + "A.EXAMPLE   ESMTP:[192.0.2.1]\r\n", [], set()),
        (A1 + A2, [2], set()),
        (A1 + A2 + A1 + A2, [2, 4], set()),
        (A1 + "a.example error:5.7.1:no\n", [2], set()),
        (A1 + "a.example esmtp:\n", [2], set()),
        ("a.example esmtp:\n" + A1, [1], set()),
        (A1 + "b.example esmtp:\n", [2], {"b.example"}),
        (A1 + "b.example esmtp:\nb.example [192.0.2.3]\n", [2, 3], {"b.example"}),
        (A1 + ".a.example esmtp:\n", [2], {".a.example"}),
        (A1 + "mail to gmail.example is slow today\n", [2], set()),
        (A1 + "gmail.example is: down\n", [2], set()),
    ],
)
def test_repeats_and_bad_lines(text: str, bad: list[int], unclear: set[str]) -> None:
    """Of differing lines the first counts; a bad line holds its domain only where no good one gives it."""
    listing = read(text)
    assert listing.entries == {"a.example": "esmtp:[192.0.2.1]"}
    assert [item.line for item in listing.skipped if item.bad] == bad
    assert listing.bad_lines == len(bad)
    assert listing.unclear.keys() == unclear


def test_both_spellings() -> None:
    """A U-label and its A-label are one domain."""
    listing = read("müller.example esmtp:[192.0.2.1]\nxn--mller-kva.example esmtp:[192.0.2.2]\n")
    assert listing.entries == {"xn--mller-kva.example": "esmtp:[192.0.2.1]"}
    assert [item.line for item in listing.skipped] == [2]


def test_numbers() -> None:
    """Lines count from 1, with blank lines and comments; rows without them."""
    text = b"# a comment \xff\r\n\r\n" + GOOD.encode() + b"\n  \nbad line\r\nb.example esmtp:[192.0.2.1]"
    listing = read(text)
    assert list(listing.entries) == ["good.example", "b.example"]
    assert [(item.line, item.text, item.bad) for item in listing.skipped] == [(6, "bad line", True)]
    assert (listing.rows, listing.lines) == (3, 7)


OLD_MAC = "lines end with CR alone, as on old Macs"


@pytest.mark.parametrize(
    "text",
    [
        "a.example esmtp:[192.0.2.1]\rb.example esmtp:[192.0.2.1]\r",
        "a.example esmtp:[192.0.2.1]\rb.example esmtp:[192.0.2.1]\r\n",
        "# members\ra.example esmtp:[192.0.2.1]\r",  # one comment
        "# members\na.example esmtp:[192.0.2.1]\rb.example esmtp:[192.0.2.1]\r\n",
        "\ra.example esmtp:[192.0.2.1]\r",
    ],
)
def test_old_line_ends(text: str) -> None:
    """A list whose lines end with CR alone is refused as a whole, and says so."""
    with pytest.raises(MailertableError, match=OLD_MAC):
        read(text)


def test_one_old_line_end() -> None:
    """A stray CR is a bad line like others."""
    listing = read("a.example esmtp:[192.0.2.1]\nb.example esmtp:[192.0.2.1]\rc.example esmtp:[192.0.2.1]\n")
    assert (list(listing.entries), list(listing.unclear)) == (["a.example"], ["b.example"])


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "# nothing\r\n"])
def test_nothing(text: str) -> None:
    """A list of nothing has nothing."""
    listing = read(text)
    assert (listing.entries, listing.skipped, listing.rows) == ({}, [], 0)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"a\xffb\n", "a\\xffb"),
        (b"x" * 3000 + b"\r\n", "x" * 1024 + "…"),
        (b"tail \r\n", "tail "),
    ],
)
def test_shown_text(line: bytes, shown: str) -> None:
    """The text of a bad line is shown as far as it can be, and not without end."""
    assert [item.text for item in read(line).skipped] == [shown]


def domains(text: str | bytes) -> Listing:
    """A list of one domain a line, read."""
    data = text.encode() if isinstance(text, str) else text
    return read_domains(io.BytesIO(data), admission())


@pytest.mark.parametrize("text", ["# members\ra.example\r", "a.example\rb.example\r"])
def test_domains_with_old_line_ends(text: str) -> None:
    """A list of domains, too."""
    with pytest.raises(MailertableError, match=OLD_MAC):
        domains(text)


def test_domains_within() -> None:
    """Its bounds hold for every format."""
    listing = read_domains([b"a.example\n", b"b.example\n"], admission(within=["a.example"]))
    assert (list(listing.entries), listing.unclear, listing.bad_lines) == (["a.example"], {}, 0)


def test_domains() -> None:
    """One domain a line, in any spelling; the network's smarthost routes them all."""
    listing = domains("# members\nA.example\r\n\n  köln.example \n.b.example\na.example\n")
    assert listing.entries == dict.fromkeys(["a.example", "xn--kln-sna.example", ".b.example"], SMARTHOST)
    assert (listing.rows, listing.bad_lines, listing.lines, listing.skipped) == (4, 0, 6, [])


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("a.example esmtp:[192.0.2.1]", True),
        ("a.example, b.example", True),
        ("a.example # the city", True),
        ("joe@a.example", True),
        ("192.0.2.1", True),
        ("a..example", True),
        ("a" * 1100, True),
        (b"a\xff.example", True),
        ("city.example", False),
        ("mail.city.example", False),
        ("co.uk", False),
    ],
)
def test_domains_skipped(line: str | bytes, bad: bool) -> None:
    """What is no domain is a bad line and holds nobody, what is never taken is skipped by rule."""
    listing = domains(line)
    assert (listing.entries, listing.unclear, listing.rows) == ({}, {}, 1)
    assert [(item.line, item.bad) for item in listing.skipped] == [(1, bad)]


def table(text: str | bytes, column: str = "Domain") -> Listing:
    """A CSV table, read."""
    data = text.encode() if isinstance(text, str) else text
    return read_csv(io.BytesIO(data), admission(), column)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Domain\na.example\nb.example\n", ["a.example", "b.example"]),
        ("Org,Domain\r\nOne,A.example\r\nTwo,b.example\r\n", ["a.example", "b.example"]),
        ('Org,Domain\n"One, Ltd.","a.example"\n"Say ""hi""",b.example\n', ["a.example", "b.example"]),
        ('Org,Domain\n"two\nlines",a.example\n', ["a.example"]),
        ("\ufeffDomain,Org\na.example,One\n", ["a.example"]),
        ("Org,Domain\nOne,\nTwo, \nThree\n,b.example,more,cells\n\n", ["b.example"]),
        ("Org,Domain\nOne, köln.example \n", ["xn--kln-sna.example"]),
        ("Domain,Org\na.example,M\udcfcller\n".encode("utf-8", "surrogateescape"), ["a.example"]),
        ("Domain\n", []),
    ],
)
def test_table(text: str | bytes, keys: list[str]) -> None:
    """The cells of one column, quoted or not; rows without one are blank."""
    listing = table(text)
    assert listing.entries == dict.fromkeys(keys, SMARTHOST)
    assert (listing.rows, listing.skipped) == (len(keys), [])


def test_table_skipped() -> None:
    """A bad cell is reported with its line in the file, and its row."""
    listing = table('Org,Domain\n"two\nlines",a.example\nThree,not a domain\nFour,city.example\n')
    assert [(item.line, item.text, item.bad) for item in listing.skipped] == [
        (4, "Three,not a domain", True),
        (5, "Four,city.example", False),
    ]
    assert (listing.rows, listing.bad_lines) == (3, 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Org,Domains\nOne,a.example\n", "no column 'Domain' .it has: 'Org', 'Domains'"),
        ("", "no column 'Domain' .it has: none"),
        ("Domain\n" + "x" * 200_000 + "\n", "not CSV"),
        ("Org,Domain\rOne,a.example\r", OLD_MAC),
    ],
)
def test_no_table(text: str, reason: str) -> None:
    """A table without the column says nothing of anybody, and is refused as a whole."""
    with pytest.raises(MailertableError, match=reason):
        table(text)
