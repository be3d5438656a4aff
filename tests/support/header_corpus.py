"""Hostile headers, each with its verdict: whether a stranger who sends it claims to be the partner koeln.example.

The partner's `header_from` is "enforce", and so is that of köln.example. `postfix` and `sendmail` are given where
that MTA hands over, or keeps, something else than what was sent.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hostile:
    """`header` are whole header lines. `refused` is our verdict on the values as they are."""

    name: str
    header: bytes
    refused: bool
    postfix: bool | None = None
    sendmail: bool | None = None

    @property
    def fields(self) -> list[tuple[str, bytes]]:
        """The fields, unparsed values."""
        found: list[tuple[str, bytes]] = []
        for line in self.header.split(b"\r\n"):
            if line[:1] in (b" ", b"\t"):
                name, value = found[-1]
                found[-1] = (name, value + b"\r\n" + line)
            elif line:
                name_bytes, _, rest = line.partition(b":")
                found.append((name_bytes.decode("latin-1"), rest.removeprefix(b" ")))
        return found


def _case(
    name: str, text: str | bytes, refused: bool, *, postfix: bool | None = None, sendmail: bool | None = None
) -> Hostile:
    raw = text.encode() if isinstance(text, str) else text
    return Hostile(name, raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n", refused, postfix, sendmail)


CORPUS = [
    # Plain, and how lines are written
    _case("plain", "From: u@koeln.example", True),
    _case("angle", "From: Office <u@koeln.example>", True),
    _case("case of the name", "fROM: u@koeln.example", True),
    _case("case of the domain", "From: u@KoElN.ExAmPlE", True),
    _case("no blank", "From:u@koeln.example", True),
    # A "From " on the first line is no header to Postfix.
    _case("blank before the colon", "To: a@b.example\nFrom : u@koeln.example", True),
    _case("tab before the colon", "From\t: u@koeln.example", True),
    _case("folded", "From: Office\n <u@koeln.example>", True),
    _case("folded at once", "From:\n u@koeln.example", True),
    _case("folded with a blank line", "From: Office\n \n <u@koeln.example>", True),
    _case("folded inside the address", "From: <u@koeln\n .example>", True),
    _case("folded inside a label", "From: <u@koe\n ln.example>", True),
    _case("trailing dot", "From: u@koeln.example.", True),
    _case("stranger", "From: Office <u@stranger.example>", False),
    _case("own", "From: u@city.example", False),
    _case("below a partner", "From: u@x.koeln.example", False),
    _case("longer than a partner", "From: u@koeln.example.stranger.example", False),
    _case("missing", "Subject: nothing", False),
    _case("empty", "From:", False),
    _case("blanks", "From: \t ", False),
    _case("empty brackets", "From: <>", False),
    # Several
    _case("sender", "From: x@stranger.example\nSender: u@koeln.example", True),
    _case("sender alone", "Sender: u@koeln.example", True),
    _case("from twice, the first", "From: u@koeln.example\nFrom: x@stranger.example", True),
    _case("from twice, the second", "From: x@stranger.example\nFrom: u@koeln.example", True),
    _case("from twice, far apart", "From: x@stranger.example\nTo: a@b.example\nX: x\nfrom: u@koeln.example", True),
    _case("two addresses, the first", "From: u@koeln.example, x@stranger.example", True),
    _case("two addresses, the second", "From: x@stranger.example, Office <u@koeln.example>", True),
    _case("two brackets", "From: <x@stranger.example> <u@koeln.example>", True),
    _case("semicolon", "From: x@stranger.example; u@koeln.example", True),
    _case("empty members", "From: ,, u@koeln.example ,,", True),
    _case("forty strangers and a partner", "From: " + "x@s.example, " * 40 + "u@koeln.example", True),
    # Groups
    _case("group", "From: office: u@koeln.example;", True),
    _case("group of two", "From: all: x@stranger.example, <u@koeln.example>;", True),
    _case("group without end", "From: all: u@koeln.example", True),
    _case("nested group", "From: a: b: u@koeln.example;;", True),
    _case("empty group", "From: undisclosed:;", False),
    # Comments
    _case("comment behind", "From: u@koeln.example (Office)", True),
    _case("comment in front", "From: (Office) u@koeln.example", True),
    _case("comment before the at", "From: u(a)@koeln.example", True),
    _case("comment behind the at", "From: u@(a)koeln.example", True),
    _case("comment in the domain", "From: u@koeln.(a)example", True),
    _case("comment in a label", "From: u@koe(a)ln.example", True),
    _case("nested comments", "From: u@koeln(a(b(c)d)e).example", True),
    _case("comment without end", "From: x@stranger.example (u@koeln.example", True),
    _case("partner in a comment", "From: x@stranger.example (u@koeln.example)", False),
    _case("partner in a nested comment", "From: x@stranger.example (a (u@koeln.example))", True),
    _case("comment with a bracket", "From: (<) u@koeln.example (>)", True),
    _case("comment with an escape", "From: (\\)) u@koeln.example", True),
    # Display names
    _case("partner in a quoted name", 'From: "u@koeln.example" <x@stranger.example>', False),
    _case("partner in brackets in a quoted name", 'From: "Office <u@koeln.example>" <x@stranger.example>', False),
    _case("partner in a bare name", "From: u@koeln.example <x@stranger.example>", True),
    _case("partner in a bare name with words", "From: u@koeln.example via list <x@stranger.example>", True),
    _case("stranger in a quoted name", 'From: "x@stranger.example" <u@koeln.example>', True),
    _case("stranger in a bare name", "From: x@stranger.example <u@koeln.example>", True),
    _case("quote without end", 'From: "Office <u@koeln.example>', True),
    _case("escaped quote", 'From: "a\\" <u@koeln.example> \\"" <x@stranger.example>', True),
    _case("quoted comma", 'From: "Office, City" <u@koeln.example>', True),
    _case("bare comma", "From: Office, City <u@koeln.example>", True),
    _case("name with dots", "From: Dr. J. Office <u@koeln.example>", True),
    # Encoded words
    _case("encoded name", "From: =?utf-8?q?B=C3=BCro?= <u@koeln.example>", True),
    _case("encoded name of a stranger", "From: =?utf-8?q?M=C3=BCller=2C_J=C3=BCrgen?= <x@stranger.example>", False),
    _case("encoded partner as name", "From: =?utf-8?q?u=40koeln=2Eexample?= <x@stranger.example>", True),
    _case("encoded brackets", "From: =?utf-8?q?=3Cu=40koeln=2Eexample=3E?= <x@stranger.example>", True),
    _case("encoded address in brackets", "From: <=?utf-8?q?u=40koeln=2Eexample?=>", True),
    _case("encoded domain", "From: <u@=?utf-8?q?koeln?=.example>", True),
    _case("encoded in base64", "From: =?utf-8?b?dUBrb2Vsbi5leGFtcGxl?=", True),
    _case("base64 without padding", "From: =?us-ascii?B?PHVAa29lbG4uZXhhbXBsZT4?= x", True),
    _case("UTF-7", "From: =?utf-7?q?u+AEA-koeln.example?=", True),
    _case("UTF-16", "From: =?utf-16-be?b?AHUAQABrAG8AZQBsAG4ALgBlAHgAYQBtAHAAbABl?=", True),
    _case("unknown charset", "From: =?x-nowhere?q?u=40koeln.example?=", True),
    _case("encoded twice", "From: =?utf-8?q?=3D=3Futf-8=3Fq=3Fu=3D40koeln.example=3F=3D?=", True),
    _case("encoded in two words", "From: =?utf-8?q?u=40koe?=\n =?utf-8?q?ln.example?=", True),
    _case("encoded quote", 'From: "=?utf-8?q?=22_=3Cu=40koeln.example=3E?=" <x@stranger.example>', True),
    _case("encoded line break", "From: =?utf-8?q?x=0D=0AFrom:_u=40koeln.example?= <x@stranger.example>", True),
    _case("encoded NUL", "From: =?utf-8?b?dUBrb2Vsbi5leGFtcGxlAA==?= <x@stranger.example>", True),
    # Quotes, escapes, routes, other signs
    _case("quoted local part", 'From: "a b"@koeln.example', True),
    _case("at in the local part", 'From: "u@stranger.example"@koeln.example', True),
    _case("partner in the local part", 'From: "u@koeln.example"@stranger.example', False),
    _case("two ats", "From: u@stranger.example@koeln.example", True),
    _case("two ats, the partner first", "From: u@koeln.example@stranger.example", True),
    _case("escape in the domain", "From: u@koe\\ln.example", True),
    _case("quoted domain", 'From: u@"koeln.example"', True),
    _case("blanks around the at", "From: u @ koeln.example", True),
    _case("blanks around the dot", "From: u@koeln . example", True),
    _case("source route", "From: <@a.example,@b.example:u@koeln.example>", True),
    _case("percent", "From: u%koeln.example", True),
    _case("bang path", "From: koeln.example!u", True),
    _case("percent at a stranger's", "From: u%koeln.example@stranger.example", False),
    _case("bracket without end", "From: Office <u@koeln.example", True),
    _case("bracket without beginning", "From: u@koeln.example>", True),
    _case("double brackets", "From: <<u@koeln.example>>", True),
    _case("mailto", "From: <mailto:u@koeln.example>", True),
    _case("a slash", "From: u@koeln.example/x@stranger.example", True),
    # 8-bit
    _case("UTF-8 domain", "From: u@köln.example", True),
    _case("UTF-8 capitals", "From: Ü@KÖLN.EXAMPLE", True),
    _case("A-label", "From: u@xn--kln-sna.example", True),
    _case("decomposed", "From: u@ko\u0308ln.example", True),
    _case("ideographic dot", "From: u@koeln\u3002example", True),
    _case("full-width at", "From: u\uff20koeln.example", True),
    _case("full-width letters", "From: u@\uff4boeln.example", True),
    _case("soft hyphen", "From: u@koe\u00adln.example", True),
    _case("zero width", "From: u@koe\u200bln.example", True),
    _case("right to left", "From: \u202eu@koeln.example", True),
    _case("UTF-8 name", "From: Büro <u@koeln.example>", True),
    _case("UTF-8 name of a stranger", "From: Büro Köln <x@stranger.example>", False),
    _case("Latin-1 domain", b"From: u@k\xf6ln.example", True),
    _case("Latin-1 name", b"From: B\xfcro <u@koeln.example>", True),
    _case("Latin-1 name of a stranger", b"From: B\xfcro <x@stranger.example>", False),
    _case("broken UTF-8 in the domain", b"From: u@koeln\xff.example", True),
    _case("Cyrillic is another domain", "From: u@ko\u0435ln.example", False),
    # Control characters
    _case("tab in the address", "From: u@koeln.\texample", True),
    _case("escape character", b"From: u@koe\x1bln.example", True),
    _case("delete", b"From: u@koeln\x7f.example", True),
    # Size
    _case("a long name", "From: " + "Office " * 900 + "<u@koeln.example>", True),
    _case("a long local part", "From: " + "u" * 3000 + "@koeln.example", True),
    _case("a long list", "From: " + ",\n ".join(f"u{n}@s.example" for n in range(900)) + ",\n u@koeln.example", True),
]
# What MTAs do not hand over as it was sent, for lines that they take for something else.
NOT_FOR_MTAS = [
    _case("NUL in the domain", b"From: u@koe\x00ln.example", True),
    _case("a NUL behind it", b"From: u@koeln.example\x00x", True),
    _case("bare carriage return", b"From: x@stranger.example\rFrom: u@koeln.example", True),
    # What some program drops within an address, so that the pieces join (Thunderbird: the first two)
    _case("a bracket without its partner", "From: Stadt Koeln <u@koeln.exam)ple>", True),
    _case("a backslash and what it takes along", r"From: <u@koeln.exam\,ple>", True),
    *(
        _case(f"dropped: {mark}", f"From: Stadt Koeln <u@koeln.exam{mark}ple>", True)
        for mark in ("<>", ">", "<", ":", ";", ",", "(", "[", "]")
    ),
    _case("several of them", "From: <u@koe)ln.ex<>am:ple>", True),
    _case("100 kB", "From: " + "a, " * 33000 + "u@koeln.example", True),
]
