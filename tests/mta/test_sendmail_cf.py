"""sendmail.cf as it is read: each kind of line, and any text at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedmail.core.where import parse_libmilter
from closedmail.doctor.checks.sendmail_clients import access_network
from closedmail.mta.sendmail_cf import ClassFile, KeyedMap, MailFilter, parse_cf

CF = """\
# Kcomment hash /x
Djgateway.city.example
D{m}city.example
Cwlocalhost $j
C{VirtHost}v.example
C{R}city.example
CR$={VirtHost} other.example $=R
FR-o /etc/mail/relay-domains %[^\\#]
Fw/etc/mail/local-host-names
Fw|/bin/program
Fm@ldap
Kmailertable hash /maps/mailertable.db
Kaccess hash -T<TMPF> -o /maps/access
Kaccess btree
\t-T<TMPF>
\t/maps/access
Kboth sequence mailertable access both
O DaemonPortOptions=Name=MTA, Family=inet, Port=smtp
O DaemonPortOptions=Name=B, M=Ea, InputMailFilters=a;b
O TrustedUser=smmta
O trusteduser=root
O Milter.LogLevel=9
Xclosedmail, S=local:/run/closedmail/milter.sock, F=T, T=C:1m;S:30s;R:30s;E:2m
Xother, S=inet6:8891@[::1]
Msmtp,\t\tP=[IPC], F=mDFMuX,
\t\tT=DNS/RFC822/SMTP
SMailertable=90
R$* <$- . $+ > $*\t$: $1$2 < $(mailertable .$3 $@ $1$2 $@ $2 $) > $4
Scheck_rcpt
R$*\t$@ OK
SMailertable
R$+\tagain
"""


def test_each_kind_of_line() -> None:
    cf = parse_cf(CF)
    assert cf.macros == {"j": "gateway.city.example", "m": "city.example"}
    assert cf.words("w") == ["localhost", "gateway.city.example"]
    assert cf.words("R") == ["city.example", "v.example", "other.example"]
    assert cf.files_of_class("R") == [ClassFile("/etc/mail/relay-domains", comments=True)]
    assert cf.files_of_class("w") == [ClassFile("/etc/mail/local-host-names")]
    assert cf.class_files.keys() == {"R", "w"}
    assert cf.maps.keys() == {"mailertable", "access", "both"}
    assert cf.maps["access"] == KeyedMap("access", "btree", ("-T<TMPF>",), ("/maps/access",))
    assert [item.path for item in cf.files("mailertable")] == ["/maps/mailertable"]
    assert [item.name for item in cf.files("both")] == ["mailertable", "access"]
    assert cf.files("none") == []
    assert cf.option("TRUSTEDUSER") == "root"
    assert cf.option("None") == ""
    assert cf.daemons == [
        {"N": "MTA", "F": "inet", "P": "smtp"},
        {"N": "B", "M": "Ea", "I": "a;b"},
    ]
    assert cf.filters == {
        "closedmail": MailFilter("closedmail", "unix:/run/closedmail/milter.sock", "T"),
        "other": MailFilter("other", "inet:[::1]:8891"),
    }
    assert cf.mailers == {"smtp"}
    assert cf.has_rule("$(mailertable ", "Mailertable")
    assert not cf.has_rule("$(mailertable ", "check_rcpt")
    assert cf.has_rule("again", "Mailertable")
    assert cf.has_rule("again")


@pytest.mark.parametrize(
    ("flags", "forgives"), [((), ""), (("-T<TMPF>",), ""), (("-T<TMPF>", "-o"), "-o"), (("-t",), "-t")]
)
def test_a_map_that_forgives(flags: tuple[str, ...], forgives: str) -> None:
    assert KeyedMap("access", "hash", flags).forgives == forgives


@pytest.mark.parametrize(
    ("socket", "where"),
    [
        ("local:/run/x", "unix:/run/x"),
        ("unix:/run/x", "unix:/run/x"),
        ("/run/x", "unix:/run/x"),
        ("inet:8891@127.0.0.1", "inet:127.0.0.1:8891"),
        ("inet:8891", "inet:localhost:8891"),
        ("inet6:8891@::1", "inet:[::1]:8891"),
        ("x", ""),
        ("x:y", ""),
        ("", ""),
    ],
)
def test_sockets(socket: str, where: str) -> None:
    assert parse_libmilter(socket) == where


@pytest.mark.parametrize(
    ("key", "network"),
    [
        ("10", "10.0.0.0/8"),
        ("10.1.1", "10.1.1.0/24"),
        ("10.1.1.", "10.1.1.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("IPv6:2001:db8", "2001:db8::/32"),
        ("ipv6:2001:db8:0:0:0:0:0:1", "2001:db8::1/128"),
        ("ipv6:2001:db8::1", "2001:db8::1/128"),
        ("300.1", None),
        ("ipv6:", None),
        ("ipv6:2001:db8:", "2001:db8::/32"),
        ("ipv6:x", None),
        ("10.example", None),
        ("1.2.3.4.5", None),
    ],
)
def test_networks_of_the_access_table(key: str, network: str | None) -> None:
    found = access_network(key)
    assert (str(found) if found else None) == network


_WORDS = st.text(st.sampled_from("CFDKOXMRS{}$=&wRj-o/%[ \t\n,.:#@|aSN"), max_size=120)


@given(st.one_of(st.text(max_size=200), _WORDS, st.lists(st.sampled_from(CF.splitlines())).map("\n".join)))
def test_any_text_is_read(text: str) -> None:
    cf = parse_cf(text)
    for name in {*cf.classes, "w", "R"}:
        assert all(word and "$" not in word for word in cf.words(name))
        assert all(file.path.startswith("/") for file in cf.files_of_class(name))
    for name in cf.maps:
        assert all(item.type != "sequence" for item in cf.files(name))


@given(st.text())
def test_any_key_is_read(text: str) -> None:
    access_network(text)
    access_network(f"IPv6:{text}")
