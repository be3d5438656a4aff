"""What leaves by another way once closedmail's tables are no longer asked, and how that is said."""

import json

import pytest

from closedmail.doctor.leaving import WaitingMail, keys_of, leaving_mails, parse_queue, say_mail, say_rows, tables_of


def entry(queue: str, queue_id: str, *recipients: str) -> str:
    return json.dumps(
        {"queue_name": queue, "queue_id": queue_id, "recipients": [{"address": each} for each in recipients]}
    )


@pytest.mark.parametrize(
    ("text", "mails"),
    [
        ("", []),
        (entry("active", "A", "x@a.example"), [WaitingMail("A", False, ("x@a.example",))]),
        (entry("hold", "A", "x", "y"), [WaitingMail("A", True, ("x", "y"))]),
        # It moves while showq lists: the later line is the newer one.
        (f"{entry('active', 'A', 'x')}\n{entry('hold', 'A', 'x')}\n", [WaitingMail("A", True, ("x",))]),
    ],
)
def test_queue(text: str, mails: list[WaitingMail]) -> None:
    assert parse_queue(text) == mails


@pytest.mark.parametrize("text", ["{", "[]", "7", "{}", '{"queue_id": "A", "queue_name": "hold", "recipients": 7}'])
def test_what_is_no_queue(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_queue(text)


@pytest.mark.parametrize(
    ("recipient", "keys"),
    [
        ("x@a.example", ["x@a.example", "a.example", ".example"]),
        ("x+y@a.b.example", ["x+y@a.b.example", "x@a.b.example", "a.b.example", ".b.example", ".example"]),
        ("+y@example", ["+y@example", "example"]),
        ("root", ["root"]),
        ("a@b@c.example", ["a@b@c.example", "c.example", ".example"]),
    ],
)
def test_keys(recipient: str, keys: list[str]) -> None:
    assert list(keys_of(recipient)) == keys


def test_tables() -> None:
    assert list(tables_of(["hash:/a, lmdb:/b", "lmdb:/b inline:{x=y, z=w}"])) == [
        "hash:/a",
        "lmdb:/b",
        "inline:{x=y, z=w}",
    ]


def test_leaving_mails() -> None:
    queue = [WaitingMail("A", False, ("x@a.example", "y@b.example")), WaitingMail("B", False, ("z@c.example",))]
    assert leaving_mails(queue, ["b.example", ".d.example"]) == [WaitingMail("A", False, ("y@b.example",))]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"a.example": "smtp:[h]", ".a.example": "smtp:[h]"}, ["Mail to 1 domain will leave"]),
        (
            {"a.example": "smtp:[h]", "b.example": "retry:4.4.4 held", ".c.example": "error:5.4.4 closed"},
            ["Mail to 3 domains will leave", "Held or refused until now, and no longer: b.example, c.example."],
        ),
        (
            {f"{number:02}.example": "retry:" for number in range(22)},
            ["Mail to 22 domains will leave", "Held or refused until now, and no longer: 00.example, "],
        ),
    ],
)
def test_rows(rows: dict[str, str], said: list[str]) -> None:
    lines = list(say_rows(rows))
    assert [line[: len(start)] for line, start in zip(lines, said, strict=True)] == said
    assert ("and 2 more" in lines[-1]) == (len(rows) == 22)


@pytest.mark.parametrize(
    ("on_hold", "release", "end"),
    [
        (False, False, "put on hold; to send it, run: postsuper -H A"),
        (True, False, "on hold already; to send it, run: postsuper -H A"),
        (False, True, "it will leave as your other settings say."),
        (True, True, "on hold already; to send it, run: postsuper -H A"),
    ],
)
def test_mail(on_hold: bool, release: bool, end: str) -> None:
    mail = WaitingMail("A", on_hold, ("x@a.example", "\u202ey"))
    said = say_mail(mail, release=release, postsuper="postsuper")
    assert said == f"A waits for x@a.example, \\u202ey: {end}"
