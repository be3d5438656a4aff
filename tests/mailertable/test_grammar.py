"""The grammar of Sendmail's mailertable: what each line becomes, or why it is not understood."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.mailertable.error_mailer import Refusal
from closedmail.mailertable.grammar import (
    Host,
    LocalMailerError,
    MailertableError,
    Route,
    canonical,
    parse_line,
    parse_value,
    told_domain,
)

assert samples  # its hypothesis profile

LONG_LABEL = "a" * 63


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("a.example esmtp:[192.0.2.1]", "a.example", "esmtp:[192.0.2.1]"),
        ("a.example smtp:mx.p.example", "a.example", "smtp:mx.p.example"),
        ("a.example esmtp:[IPv6:2001:db8::1]", "a.example", "esmtp:[IPv6:2001:db8::1]"),
        ("a.example esmtp:[2001:db8::1]", "a.example", "esmtp:[IPv6:2001:db8::1]"),
        ("a.example esmtp:[ipv6:2001:0DB8::0001]", "a.example", "esmtp:[IPv6:2001:db8::1]"),
        ("a.example relay:[192.0.2.1]:[192.0.2.2]", "a.example", "relay:[192.0.2.1]:[192.0.2.2]"),
        ("a.example esmtp:[IPv6:2001:db8::1]:[192.0.2.9]", "a.example", "esmtp:[IPv6:2001:db8::1]:[192.0.2.9]"),
        ("a.example esmtp:mx1.p.example,mx2.p.example", "a.example", "esmtp:mx1.p.example,mx2.p.example"),
        ("a.example esmtp:[a.p.example],b.example:c.example", "a.example", "esmtp:[a.p.example],b.example:c.example"),
        ("a.example esmtp:[mx.p.example]", "a.example", "esmtp:[mx.p.example]"),
        ("a.example esmtp: [192.0.2.35]", "a.example", "esmtp:[192.0.2.35]"),
        ("a.example esmtp :[192.0.2.35]", "a.example", "esmtp:[192.0.2.35]"),
        ("a.example\tesmtp\t:\t[192.0.2.35]\t", "a.example", "esmtp:[192.0.2.35]"),
        ("a.example esmtp:[192.0.2.1] , [192.0.2.3]", "a.example", "esmtp:[192.0.2.1],[192.0.2.3]"),
        ("a.example esmtp:mx1.p.example ,mx2.p.example", "a.example", "esmtp:mx1.p.example,mx2.p.example"),
        ("a.example esmtp:[192.0.2.1] :  [192.0.2.3]", "a.example", "esmtp:[192.0.2.1]:[192.0.2.3]"),
        ("a.example relay : [IPv6 : 2001:db8::1]", "a.example", "relay:[IPv6:2001:db8::1]"),
        ("a.example error : 5.1.2 : 550 gone away", "a.example", "error:5.1.2:gone away"),
        ("a.example error:550", "a.example", "error:5.0.0:address refused"),
        ("a.example ESMTP:[MX.P.Example]", "a.example", "esmtp:[mx.p.example]"),
        ("a.example Smtp8:mx.p.example", "a.example", "smtp8:mx.p.example"),
        ("a.example dsmtp:mx.p.example.", "a.example", "dsmtp:mx.p.example"),
        ("a.example smtp:mx", "a.example", "smtp:mx"),
        ("A.Example esmtp:[192.0.2.1]", "a.example", "esmtp:[192.0.2.1]"),
        (".a.example esmtp:[192.0.2.1]", ".a.example", "esmtp:[192.0.2.1]"),
        (".com esmtp:[192.0.2.1]", ".com", "esmtp:[192.0.2.1]"),
        ("a_b.example esmtp:[192.0.2.1]", "a_b.example", "esmtp:[192.0.2.1]"),
        ("a.example\tesmtp:[192.0.2.1]", "a.example", "esmtp:[192.0.2.1]"),
        ("a.example \t \tesmtp:[192.0.2.1] \t ", "a.example", "esmtp:[192.0.2.1]"),
        ("müller.example esmtp:[192.0.2.1]", "xn--mller-kva.example", "esmtp:[192.0.2.1]"),
        ("xn--mller-kva.example esmtp:[192.0.2.1]", "xn--mller-kva.example", "esmtp:[192.0.2.1]"),
        (".müller.example esmtp:mx.müller.example", ".xn--mller-kva.example", "esmtp:mx.xn--mller-kva.example"),
        ("grüße.example esmtp:[192.0.2.1]", "xn--gre-6ka8l.example", "esmtp:[192.0.2.1]"),
        ("a.example error:5.7.1:550 text", "a.example", "error:5.7.1:text"),
        ("a.example error:4.7.0:450 text", "a.example", "error:4.7.0:text"),
        ("a.example error:5.1.2:550 gone", "a.example", "error:5.1.2:gone"),
        ("a.example error:nohost:text", "a.example", "error:5.1.2:text"),
        ("a.example ERROR:NoHost:text of many words", "a.example", "error:5.1.2:text of many words"),
        ("a.example error:tempfail:come back", "a.example", "error:4.0.0:come back"),
        ("a.example error:5.7.1:not a code: 550", "a.example", "error:5.7.1:not a code: 550"),
        ('a.example error:5.7.1:"550 gone"', "a.example", "error:5.7.1:gone"),
        ("a.example error:text without a code", "a.example", "error:5.0.0:text without a code"),
        ("a.example error:450 later", "a.example", "error:4.0.0:later"),
        ("a.example error:550 5.1.1 gone", "a.example", "error:5.1.1:gone"),
        ('a.example error:"450 later"', "a.example", "error:4.0.0:later"),
        ('a.example error:5.1.1:550 "gone"', "a.example", "error:5.1.1:gone"),
        ("a.example error:550 5.1.1 gone: for good", "a.example", "error:5.1.1:gone: for good"),
        ("a.example error:550 5.1.1", "a.example", "error:5.1.1:address refused"),
        ("a.example error:5.\u0667.1:text", "a.example", "error:5.0.0:5.\u0667.1:text"),
        ("a.example error:see: below", "a.example", "error:5.0.0:see: below"),
        ("a.example error:5.7.1:450 the DSN counts", "a.example", "error:5.7.1:the DSN counts"),
        ("a.example error:4.7.0:550 the DSN counts", "a.example", "error:4.7.0:the DSN counts"),
        ("a.example error:5.7.1:5500 people", "a.example", "error:5.7.1:5500 people"),
        ("a.example error:5.7.1:für immer", "a.example", "error:5.7.1:für immer"),
        ("a.example error:5.7.1:x\u202ey\u0085z\u2028", "a.example", "error:5.7.1:x?y?z"),
        ("a.example error:550 \u2066gone", "a.example", "error:5.0.0:?gone"),
    ],
)
def test_line(line: str, key: str, value: str) -> None:
    """A line is its key and one canonical value, whatever its line end; and that says the same as itself."""
    for end in ("", "\n", "\r\n"):
        assert parse_line((line + end).encode()) == (key, value)
    assert parse_line(f"{key} {value}".encode()) == (key, value)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"\r\n",
        b" \t \n",
        b"#",
        b"# a.example esmtp:[192.0.2.1]\n",
        b"#a.example\tesmtp:[192.0.2.1]\r\n",
        b"# \xff\xfe\x00\x1b any bytes \x80\n",
        b"#" + b"x" * 5000 + b"\n",
    ],
)
def test_nothing(line: bytes) -> None:
    """Blank lines and comments, whatever bytes these hold."""
    assert parse_line(line) is None
    assert told_domain(line) is None


T, N = "a.example", None  # a bad line whose domain can be told, and one that says nothing about any


@pytest.mark.parametrize(
    ("line", "reason", "told"),
    [
        # The value
        (b"a.example esmtp:", "no host", T),
        (b"a.example esmtp: ", "no host", T),
        (b"a.example esmtp: # none", "white space or text after the host", T),
        (b"a.example esmtp:[192.0.2.1] [192.0.2.2]", "white space or text after the host", T),
        (b"a.example esmtp:[192.0.2.1] , ", "an empty host", T),
        (b"a.example esmtp : : [192.0.2.1]", "an empty host", T),
        (b"a.example es mtp:[192.0.2.1]", "not mailer:host", N),
        ("a.example esmtp:\u00a0[192.0.2.1]".encode(), "white space or text after the host", T),
        ("a.example esmtp\u3000:[192.0.2.1]".encode(), "not mailer:host", N),
        (b"a.example error:", "nothing after error:", T),
        (b"a.example error: ", "nothing after error:", T),
        (b"a.example error :", "nothing after error:", T),
        (b"a.example ERROR::", "nothing after error:", T),
        (b'a.example error:""', "nothing after error:", T),
        (b'a.example error: " " ', "nothing after error:", T),
        (b"a.example esmtp:[192.0.2.1] # a comment", "white space or text after the host", T),
        (b"a.example esmtp:[192.0.2.1]:2525", "looks like a port", T),
        (b"a.example esmtp:2525", "looks like a port", T),
        (b"a.example esmtp:mx.p.example:25", "looks like a port", T),
        (b"a.example esmtp:[192.0.2.1]:", "an empty host", T),
        (b"a.example esmtp::[192.0.2.1]", "an empty host", T),
        (b"a.example esmtp:mx.p.example,", "an empty host", T),
        (b"a.example esmtp:192.0.2.1", "needs brackets", T),
        (b"a.example esmtp:2001:db8::1", "looks like a port", T),
        (b"a.example esmtp:[192.0.2.256]", "not an address", T),
        (b"a.example esmtp:[192.0.2]", "not an address", T),
        (b"a.example esmtp:[192.0.2.01]", "not an address", T),
        (b"a.example esmtp:[IPv6:192.0.2.1]", "not an address", T),
        (b"a.example esmtp:[IPv6:2001:db8::1%eth0]", "'%'", T),
        (b"a.example esmtp:[2001:db8:::1]", "not an address", T),
        (b"a.example esmtp:[]", "not a host", T),
        (b"a.example esmtp:[192.0.2.1", "brackets don't match", T),
        (b"a.example esmtp:192.0.2.1]", "not a host", T),
        (b"a.example esmtp:[[192.0.2.1]]", "brackets don't match", T),
        (b"a.example esmtp:[192.0.2.1][192.0.2.2]", "brackets don't match", T),
        (b"a.example esmtp:-mx.p.example", "not a host", T),
        (b"a.example esmtp:mx..example", "not a host", T),
        (b"a.example esmtp:%1.gw.example", "'%' parts", T),
        (b".a.example esmtp:%1.gw.example", "'%' parts", "." + T),
        (b"a.example esmtp:joe@mx.p.example", "user@host", T),
        (b"a.example relay:joe@[192.0.2.1]", "user@host", T),
        (b"a.example esntp:[192.0.2.1]", "unknown mailer", T),
        (b"a.example esntp:mx.p.example", "unknown mailer", N),
        (b"a.example discard:x", "unknown mailer", T),
        (b"a.example [192.0.2.9]", "not mailer:host", T),
        (b"a.example mx.p.example", "not mailer:host", N),
        (b"a.example 192.0.2.9", "not mailer:host", N),
        (b"a.example :[192.0.2.9]", "not mailer:host", N),
        (b"a.example esntp :[192.0.2.9]", "unknown mailer", N),
        (b"a.example esntp: [192.0.2.9]", "unknown mailer", N),
        (b"a.example discard : x", "unknown mailer", T),
        (b"a.example https://p.example/", "unknown mailer", N),
        # The line
        (b"a.example", "value is missing", N),
        (b"a.example \t\n", "value is missing", N),
        (b" a.example esmtp:[192.0.2.1]", "begins with white space", T),
        (b"\ta.example esmtp:[192.0.2.1]", "begins with white space", T),
        (b"a.example esmtp:[192.0.2.1]\x00", "control character", T),
        (b"a.example\x0besmtp:[192.0.2.1]", "control character", T),
        (b"a.example esmtp:\x1b[192.0.2.1]", "control character", T),
        (b"a.example error:5.7.1:te\x7fxt", "control character", T),
        (b"a.example esmtp:[192.0.2.1]\r\r\n", "control character", T),
        (b"a.example error:5.7.1:\xff", "not UTF-8", T),
        (b"a\xff.example esmtp:[192.0.2.1]", "not UTF-8", N),
        (b"a.example error:5.7.1:" + b"x" * 1002, "longer than 1023", T),
        (b"a.example error:5.7.1:" + b"x" * 1002 + b"\r\n", "longer than 1023", T),
        # The key
        (b". smtp:fallback.example", "not a domain", N),
        (b".. smtp:fallback.example", "not a domain", N),
        (b"192.0.2.1 smtp:fallback.example", "not a domain", N),
        (b"joe@a.example smtp:fallback.example", "not a domain", N),
        (b"*.a.example smtp:fallback.example", "not a domain", N),
        (b"a..example smtp:fallback.example", "not a domain", N),
        (b"-a.example smtp:fallback.example", "not a domain", N),
        (b"a.example. esmtp:[192.0.2.1]", "ends with a dot", T),
        (b'"a.example" esmtp:[192.0.2.1]', "not a domain", N),
        # Sentences
        (b"gmail.example is not a member any more", "not mailer:host", N),
        (b"gmail.example is: down", "unknown mailer", N),
        (b"gmail.example: see below", "not a domain", N),
        (b"Please note gmail.example smtp:x", "not mailer:host", N),
        (b"gmail.example (smtp: see below)", "not mailer:host", N),
        (b"gmail.example is closed: use smtp: or relay", "not mailer:host", N),
        (b"gmail.example our smtp : see below", "not mailer:host", N),
    ],
)
def test_bad_line(line: bytes, reason: str, told: str | None) -> None:
    """A line that is not understood completely is refused with its reason; and its domain, where it can be told."""
    with pytest.raises(MailertableError, match=reason):
        parse_line(line)
    assert told_domain(line) == told


@pytest.mark.parametrize(
    "value",
    [
        "local:joe",
        "LOCAL:joe",
        "procmail:/etc/x",
        "prog:|/bin/sh",
        "*file*:/etc/passwd",
        "cyrusv2:x",
        "uucp:host",
        "lmtp:x",
    ],
)
def test_local_mailer(value: str) -> None:
    """Mailers that run programs or deliver locally are told apart from lines that are not understood."""
    with pytest.raises(LocalMailerError, match="never taken from a list"):
        parse_line(f"a.example {value}".encode())
    assert told_domain(f"a.example {value}".encode()) == "a.example"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_longest_line(end: bytes) -> None:
    """1,023 bytes are a line, however it ends and however its bytes are spelled."""
    head = b"a.example error:5.7.1:"
    text = ("ö" * ((1023 - len(head)) // 2)).encode() + b"x" * ((1023 - len(head)) % 2)
    assert parse_line(head + text + end) == ("a.example", "error:5.7.1:" + text.decode())
    with pytest.raises(MailertableError, match="longer"):
        parse_line(head + text + b"x" + end)


@pytest.mark.parametrize("labels", [4, 5])
def test_longest_name(labels: int) -> None:
    """Names end at 253 characters on the short way through the grammar, too."""
    name = ".".join([LONG_LABEL] * labels)
    with pytest.raises(MailertableError, match="longer than 253"):
        parse_line(f"{name} smtp:x".encode())
    assert parse_line(f"{name[-253:]} smtp:x".encode()) == (name[-253:], "smtp:x")


def test_route() -> None:
    """A route knows its groups, its hosts in their order, and which of them are addresses."""
    route = parse_value("esmtp:[192.0.2.1],mx.p.example:[2001:db8::1]:[gw.p.example]")
    assert isinstance(route, Route)
    assert route.mailer == "esmtp"
    assert [len(group) for group in route.groups] == [2, 1, 1]
    assert route.hosts == (
        Host("192.0.2.1", mx=False),
        Host("mx.p.example", mx=True),
        Host("2001:db8::1", mx=False),
        Host("gw.p.example", mx=False),
    )
    assert [host.is_address for host in route.hosts] == [True, False, True, False]


@pytest.mark.parametrize(("dsn", "temporary"), [("5.7.1", False), ("4.7.0", True)])
def test_refusal(dsn: str, temporary: bool) -> None:
    """Class 4 comes back."""
    refusal = parse_value(f"error:{dsn}:text")
    assert refusal == Refusal(dsn, "text")
    assert isinstance(refusal, Refusal)
    assert refusal.temporary is temporary


@pytest.mark.parametrize(
    "value", ["error:5.1.2:", "error:5.1.2:550", "error:550", 'error:5.1.2:""', "error:nohost:550 "]
)
def test_refusal_without_text(value: str) -> None:
    """A sender is always told something."""
    refusal = parse_value(value)
    assert isinstance(refusal, Refusal)
    assert refusal.text == "address refused"


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *(
                "a.example",
                ".a.example",
                "esmtp:",
                "smtp:",
                "relay:",
                "error:",
                "local:",
                "[192.0.2.1]",
                "[IPv6:",
                "]",
                "[",
            ),
            *(
                "2001:db8::1",
                ":",
                ",",
                " ",
                "\t",
                "\r",
                "\n",
                "#",
                "%1",
                "@",
                ".",
                "5.7.1",
                "4.7.0:",
                "550 ",
                "450-",
                '"',
            ),
            *(
                "text",
                "nohost",
                "ö",
                "ß",
                "ς",
                "xn--",
                "xn--kln-sna",
                "-",
                "\x00",
                "\x7f",
                "\u3000",
                "\ufeff",
                "\u0665",
                "2525",
            ),
        ]
    ),
    max_size=12,
)
LINES = st.one_of(
    st.binary(max_size=80),
    FRAGMENTS.map(lambda parts: "".join(parts).encode()),
    FRAGMENTS.map(lambda parts: b"a.example " + "".join(parts).encode()),
    FRAGMENTS.map(lambda parts: b"a.example error:" + "".join(parts).encode()),
    FRAGMENTS.map(lambda parts: b"a.example esmtp:" + "".join(parts).encode()),
)


@given(LINES)
def test_any_line(line: bytes) -> None:
    """Any bytes are a line, nothing, or a MailertableError; what they become parses to itself."""
    told = told_domain(line)
    assert told is None or parse_line(f"{told} smtp:x".encode()) == (told, "smtp:x")
    try:
        parsed = parse_line(line)
    except MailertableError:
        return
    if parsed is None:
        return
    key, value = parsed
    assert key.isascii()
    assert canonical(value) == value
    assert parse_line(f"{key} {value}\n".encode()) == parsed


@given(st.text(max_size=60))
def test_any_value(text: str) -> None:
    """Any text is a value in its one spelling, or a MailertableError."""
    for value in (text, "error:" + text, "error:5.1.1:550 " + text, "esmtp:" + text, "esmtp:[" + text + "]"):
        try:
            spelled = canonical(value)
        except MailertableError:
            continue
        assert canonical(spelled) == spelled


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(st.lists(ADDRESSES, min_size=1, max_size=4))
def test_any_address(addresses: list[IPv4Address | IPv6Address]) -> None:
    """Every address is a host, with and without the prefix for IPv6, and comes out in one spelling."""
    plain = parse_value("esmtp:" + ":".join(f"[{address}]" for address in addresses))
    prefixed = parse_value(
        "esmtp:" + ":".join(f"[IPv6:{item.exploded}]" if item.version == 6 else f"[{item}]" for item in addresses)
    )
    assert plain == prefixed
    assert isinstance(plain, Route)
    assert [host.name for host in plain.hosts] == list(map(str, addresses))
    assert all(host.is_address for host in plain.hosts)
