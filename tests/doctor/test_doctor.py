"""`closedmail doctor` on a real Postfix's configuration: silent where all is well, and each fault found and fixed."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.daemon import Daemon, closedmail_as, closedmail_inside
from support.keys import Signer
from support.patient import Patient, patient
from support.squatter import Squatter

from closedmail.mta.postconf import inspect_postfix

pytestmark = pytest.mark.real("root", "postconf", "postmap", "openssl")
NOBODY = 65534
WAYS = Path(__file__).parents[2] / "postfix-examples" / "ways-in"
CHECK = "check_policy_service { unix:closedmail/policy.sock, timeout=10s, { default_action = 451 4.3.5 x } }"
DEFINE = (
    "-e 'closedmail_check = check_policy_service { unix:closedmail/policy.sock, timeout=10s, "
    "{ default_action = 451 4.3.5 The check for closed networks does not answer } }'"
)
LISTENER = "127.0.0.1:10026 inet n - y - - smtpd"
BLANK = "-o smtpd_sender_restrictions= -o smtpd_data_restrictions="


@pytest.fixture(scope="module")
def gateway() -> Iterator[Patient]:
    with patient(wired=True) as made:
        made.keep()
        yield made


@pytest.fixture
def well(gateway: Patient) -> Iterator[Patient]:
    """The gateway as it should be, and again when the test has ended."""
    yield gateway
    gateway.restore()


@dataclass(frozen=True)
class Fault:
    """How to put a fault in, and what doctor has to say: the id, words of the text, and the commands, without their
    `postconf -c FOLDER`. `left` says that no command mends it."""

    put: Callable[[Patient], object]
    id: str
    text: str
    fix: tuple[str, ...] = ()
    severity: str = "error"
    by_hand: bool = False


def main(*settings: str) -> Callable[[Patient], object]:
    return lambda well: well.set(*(item.replace("FOLDER", str(well.folder)) for item in settings))


def master(*arguments: str) -> Callable[[Patient], object]:
    return lambda well: well.postconf(*arguments)


def entry(*lines: str) -> Callable[[Patient], object]:
    """Entries of master.cf, and settings of main.cf that begin with `main:`."""

    def put(well: Patient) -> None:
        for line in lines:
            if line.startswith("main:"):
                well.set(line.removeprefix("main:"))
            else:
                with well.master.open("a") as file:
                    file.write(f"{line}\n")

    return put


def toml(old: str, new: str) -> Callable[[Patient], object]:
    return lambda well: well.edit(well.config, old, new.replace("FOLDER", str(well.folder)))


def shared(*options: str) -> Callable[[Patient], object]:
    """A service `ndb` that the administrator made, by which the network delivers."""

    def put(well: Patient) -> None:
        toml('{ tls = "may" }', '{ tls = "may", transport = "ndb" }')(well)
        own = "".join(f" -o {item.replace('FOLDER', str(well.folder))}" for item in options)
        well.postconf("-M", "-e", f"ndb/unix=ndb unix - - y - - smtp{own}")

    return put


def both(*puts: Callable[[Patient], object]) -> Callable[[Patient], object]:
    return lambda well: [put(well) for put in puts]


GUARD = "regexp:FOLDER/state/postfix/recipients_unusual"
TRANSPORT = (
    f"-e 'transport_maps = $default_database_type:FOLDER/etc/transport, hash:FOLDER/state/postfix/transport, {GUARD}'"
)
TABLE = "hash:FOLDER/state/postfix/tls_policy"
POLICY = f"-e 'smtp_tls_policy_maps = {TABLE}'"
SERVICE = (
    f"-o syslog_name=postfix/closedmail-ndb -o smtp_tls_policy_maps={TABLE}-ndb -o smtp_tls_security_level=may "
    "-o smtp_fallback_relay="
)
CAS = "-o smtp_tls_CAfile=FOLDER/ca.pem -o smtp_tls_CApath="  # what the example's service has beyond
OWN_SENDER = "-P 'smtp/inet/smtpd_sender_restrictions=$closedmail_check,permit_mynetworks,reject'"
CLASSES = "header_sender, header_recipient"
FAULTS = {
    "no-check-for-senders": Fault(
        main("smtpd_sender_restrictions = reject_non_fqdn_sender"),
        "sender-restrictions",
        "smtpd_sender_restrictions does not ask closedmail",
        ("-e 'smtpd_sender_restrictions = $closedmail_check, reject_non_fqdn_sender'",),
    ),
    "no-check-at-data": Fault(
        main("smtpd_data_restrictions = reject_plaintext_session"),
        "data-restrictions",
        "<postmaster>",
        ("-e 'smtpd_data_restrictions = $closedmail_check, reject_plaintext_session'",),
    ),
    "a-listener-empties-it": Fault(
        entry("submission inet n - y - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_sender_restrictions="),
        "sender-restrictions",
        "smtpd_sender_restrictions of submission/inet in master.cf does not ask closedmail",
        ("-P 'submission/inet/smtpd_sender_restrictions=$closedmail_check'",),
    ),
    "a-listener-with-braces": Fault(
        entry("587 inet n - y - - smtpd -o { smtpd_data_restrictions = check_sender_access inline:{ a=REJECT } }"),
        "data-restrictions",
        "of 587/inet",
        (
            "-e 'closedmail_smtpd_data_of_587 = $closedmail_check, check_sender_access inline:{ a=REJECT }'",
            "-P '587/inet/smtpd_data_restrictions=$closedmail_smtpd_data_of_587'",
        ),
    ),
    "behind-postscreen": Fault(
        entry("smtpd pass - - y - - smtpd -o smtpd_data_restrictions=reject_plaintext_session"),
        "data-restrictions",
        "of smtpd/pass",
        ("-P 'smtpd/pass/smtpd_data_restrictions=$closedmail_check,reject_plaintext_session'",),
    ),
    "behind-mynetworks": Fault(
        main("smtpd_sender_restrictions = permit_mynetworks, $closedmail_check"),
        "check-after-permit",
        "permitted before: permit_mynetworks",
        ("-e 'smtpd_sender_restrictions = $closedmail_check, permit_mynetworks'",),
    ),
    "behind-a-login": Fault(
        main("smtpd_data_restrictions = permit_sasl_authenticated $closedmail_check reject"),
        "check-after-permit",
        "permit_sasl_authenticated",
        ("-e 'smtpd_data_restrictions = $closedmail_check, permit_sasl_authenticated, reject'",),
    ),
    "behind-a-table-that-says-ok": Fault(
        main(f"smtpd_sender_restrictions = check_sender_access inline:{{ a.example=REJECT, b.example=OK }}, {CHECK}"),
        "check-after-permit",
        "(has b.example OK)",
        (
            "-e 'smtpd_sender_restrictions = $closedmail_check, check_sender_access inline:{ a.example=REJECT, "
            "b.example=OK }'",
        ),
    ),
    "behind-another-service": Fault(
        main("smtpd_sender_restrictions = check_policy_service inet:127.0.0.1:10023, $closedmail_check"),
        "check-after-permit",
        "may answer OK",
        ("-e 'smtpd_sender_restrictions = $closedmail_check, check_policy_service inet:127.0.0.1:10023'",),
        severity="warning",
    ),
    "behind-a-table-nobody-can-read": Fault(
        main("smtpd_sender_restrictions = check_client_access ldap:/etc/none, $closedmail_check"),
        "check-after-permit",
        "may have rows that say OK",
        ("-e 'smtpd_sender_restrictions = $closedmail_check, check_client_access ldap:/etc/none'",),
        severity="warning",
    ),
    "behind-a-class": Fault(
        main(
            "smtpd_restriction_classes = friends",
            "friends = reject_non_fqdn_sender, permit_tls_clientcerts",
            "smtpd_sender_restrictions = friends, $closedmail_check",
        ),
        "check-after-permit",
        "permit_tls_clientcerts",
        ("-e 'smtpd_sender_restrictions = $closedmail_check, friends'",),
    ),
    "only-logged": Fault(
        main("smtpd_sender_restrictions = warn_if_reject $closedmail_check, reject_plaintext_session"),
        "warn-if-reject",
        "what it refuses is accepted",
        ("-e 'smtpd_sender_restrictions = $closedmail_check, reject_plaintext_session'",),
    ),
    "in-a-listener-behind-a-permit": Fault(
        master("-P", "smtp/inet/smtpd_sender_restrictions=permit_mynetworks,$closedmail_check,reject"),
        "check-after-permit",
        "smtpd_sender_restrictions of smtp/inet in master.cf",
        (OWN_SENDER,),
    ),
    "refusals-at-mail": Fault(
        main("smtpd_delay_reject = no"),
        "delay-reject",
        "the log then lacks",
        ("-e 'smtpd_delay_reject = yes'",),
        severity="warning",
    ),
    "default-action": Fault(
        main(
            "closedmail_check = check_policy_service unix:closedmail/policy.sock",
            "smtpd_policy_service_default_action = reject_unauth_destination",
        ),
        "default-action",
        "mail passes unchecked",
        (
            DEFINE,
            "-e 'smtpd_sender_restrictions = $closedmail_check'",
        ),
    ),
    "absolute-in-a-chroot": Fault(
        main("closedmail_check = check_policy_service unix:FOLDER/queue/closedmail/policy.sock"),
        "socket-chroot",
        "which is chrooted",
        (
            DEFINE,
            "-e 'smtpd_sender_restrictions = $closedmail_check'",
        ),
    ),
    "where-nobody-listens": Fault(
        main("closedmail_check = check_policy_service unix:closedmail/other.sock"),
        "socket-path",
        "where policyd does not listen",
        (
            DEFINE,
            "-e 'smtpd_sender_restrictions = $closedmail_check'",
        ),
    ),
    "a-mail-in-a-mail": Fault(
        main("smtpd_forbid_bare_newline = No"),
        "bare-newline",
        "which comes with the partner's address and certificate",
        ("-e 'smtpd_forbid_bare_newline = normalize'",),
    ),
    "a-mail-in-a-mail-is-only-noted": Fault(
        master("-P", "smtp/inet/smtpd_forbid_bare_newline=note"),
        "bare-newline",
        "of smtp/inet in master.cf = note",
        ("-P smtp/inet/smtpd_forbid_bare_newline=normalize",),
    ),
    "another-name-for-the-milter": Fault(
        main("smtpd_milters = unix:closedmail/milter.sock", "mail_name = City Mail"),
        "milter-macro",
        "milter_macro_v = City Mail 3.",
        ("-e 'milter_macro_v = Postfix'",),
    ),
    "no-name-for-the-milter": Fault(
        both(
            main("smtpd_milters = unix:closedmail/milter.sock"),
            master("-P", "smtp/inet/milter_macro_v="),
        ),
        "milter-macro",
        "milter_macro_v of smtp/inet in master.cf = nothing",
        ("-P smtp/inet/milter_macro_v=Postfix",),
    ),
    "milter-accepts": Fault(
        main("smtpd_milters = unix:closedmail/milter.sock", "milter_default_action = ACCEPT"),
        "milter-default-action",
        "mail passes unchecked",
        ("-e 'milter_default_action = tempfail'",),
    ),
    "a-filter-is-checked-again": Fault(
        entry("main:content_filter = smtp:[127.0.0.1]:10025", f"{LISTENER} -o content_filter="),
        "reinjection-check",
        "127.0.0.1:10026/inet in master.cf takes mail back",
        (
            "-P 127.0.0.1:10026/inet/smtpd_sender_restrictions=",
            "-P 127.0.0.1:10026/inet/smtpd_data_restrictions=",
        ),
    ),
    "a-proxy-is-checked-again": Fault(
        entry(
            f"{LISTENER} {BLANK.split(' -o smtpd_data')[0]} -o smtpd_authorized_xforward_hosts=127.0.0.0/8",
            "125 inet n - y - - smtpd -o smtpd_proxy_filter=127.0.0.1:10025",
        ),
        "reinjection-check",
        "(smtpd_data_restrictions)",
        ("-P 127.0.0.1:10026/inet/smtpd_data_restrictions=",),
    ),
    "a-filter-comes-back-for-everybody": Fault(
        entry("main:content_filter = smtp:[127.0.0.1]:10025", f"10026 inet n - y - - smtpd -o content_filter= {BLANK}"),
        "reinjection-exposed",
        "put 127.0.0.1:10026 in place of 10026",
        (
            "-M '127.0.0.1:10026/inet=127.0.0.1:10026 inet n - y - - smtpd -o content_filter= -o "
            "smtpd_data_restrictions= -o smtpd_sender_restrictions='",
            "-MX 10026/inet",
        ),
    ),
    "no-certificate-is-asked-for": Fault(
        main("smtpd_tls_ask_ccert = no"), "ask-ccert", "no client shows", ("-e 'smtpd_tls_ask_ccert = yes'",)
    ),
    "nor-by-a-listener": Fault(
        master("-P", "smtp/inet/smtpd_tls_ask_ccert=no"),
        "ask-ccert",
        "of smtp/inet",
        ("-P smtp/inet/smtpd_tls_ask_ccert=yes",),
    ),
    "no-tls": Fault(
        main("smtpd_tls_security_level = none"), "smtpd-tls", "is none", ("-e 'smtpd_tls_security_level = may'",)
    ),
    "another-digest": Fault(
        main("smtpd_tls_fingerprint_digest = md5"),
        "fingerprint-digest",
        'partner."clinic.example".inbound.certificates[0].pubkey_fingerprint is SHA-256',
        ("-e 'smtpd_tls_fingerprint_digest = sha256'",),
    ),
    "no-certificates-in-the-log": Fault(
        main("smtpd_tls_loglevel = 1"),
        "tls-loglevel",
        "replay can't say what",
        ("-e 'smtpd_tls_loglevel = summary, peercert'",),
        severity="warning",
    ),
    "no-certificate-of-its-own": Fault(
        master("-X", "smtpd_tls_cert_file", "smtpd_tls_key_file"),
        "smtpd-certificate",
        "it answers STARTTLS with 454",
    ),
    "its-certificate-is-not-there": Fault(
        main("smtpd_tls_cert_file = FOLDER/none.pem"), "smtpd-certificate", "none.pem, a certificate of Postfix's own"
    ),
    "the-public-cas": Fault(
        main("smtpd_tls_CApath = /etc/ssl/certs"),
        "client-ca-public",
        "smtpd_tls_CApath = /etc/ssl/certs has the public CAs",
        ("-e 'smtpd_tls_CApath ='",),
        severity="warning",
    ),
    "the-public-bundle": Fault(
        main("smtpd_tls_CAfile = FOLDER/bundle.pem"),
        "client-ca-public",
        "bundle.pem has the public CAs",
        severity="warning",
    ),
    "the-default-cas": Fault(
        main("tls_append_default_CA = yes"),
        "client-ca-public",
        "tls_append_default_CA = yes",
        ("-e 'tls_append_default_CA = no'",),
        severity="warning",
    ),
    "no-ca": Fault(main("smtpd_tls_CAfile ="), "client-ca", "Postfix verifies no client"),
    "the-ca-is-not-there": Fault(
        main("smtpd_tls_CAfile = FOLDER/none.pem"), "client-ca-missing", "none.pem is not there"
    ),
    "no-routes": Fault(
        main("transport_maps = $default_database_type:FOLDER/etc/transport"),
        "transport-maps",
        "leaves by the public MX",
        (TRANSPORT,),
    ),
    "no-policies-for-one-service": Fault(
        shared("smtp_tls_policy_maps=", "smtp_fallback_relay="),
        "tls-policy-maps",
        "smtp_tls_policy_maps of ndb/unix in master.cf",
        ("-P ndb/unix/smtp_tls_policy_maps=hash:FOLDER/state/postfix/tls_policy",),
    ),
    "unusual-spellings-pass": Fault(
        main("transport_maps = $default_database_type:FOLDER/etc/transport, hash:FOLDER/state/postfix/transport"),
        "recipient-spellings",
        "a decomposed umlaut",
        (TRANSPORT,),
    ),
    "mapping-of-idna-2003": Fault(
        main("enable_idna2003_compatibility = yes"),
        "old-mapping",
        "a joiner (U+200D)",
        ("-e 'enable_idna2003_compatibility = no'",),
    ),
    "a-type-without-an-index": Fault(
        main(
            "transport_maps = $default_database_type:FOLDER/etc/transport, texthash:FOLDER/state/postfix/transport, "
            + GUARD
        ),
        "map-type",
        "but sync makes tables of type hash",
        (TRANSPORT,),
    ),
    "ours-before-the-administrators": Fault(
        main(
            f"transport_maps = hash:FOLDER/state/postfix/transport $default_database_type:FOLDER/etc/transport {GUARD}"
        ),
        "transport-order",
        "before your own",
        (TRANSPORT,),
        severity="warning",
    ),
    "parents-match-routes": Fault(
        main("parent_domain_matches_subdomains = smtpd_access_maps, transport_maps"),
        "parent-domain-transport",
        ".domain are never found",
        ("-e 'parent_domain_matches_subdomains = smtpd_access_maps'",),
    ),
    "fallback": Fault(
        both(shared(f"smtp_tls_policy_maps={TABLE}"), main("smtp_fallback_relay = relay.example")),
        "fallback-relay",
        "relay.example",
        ("-P ndb/unix/smtp_fallback_relay=",),
    ),
    "fingerprints-out": Fault(
        main("smtp_tls_fingerprint_digest = sha1"),
        "smtp-fingerprint-digest",
        "tls_match has SHA-256",
        ("-e 'smtp_tls_fingerprint_digest = sha256'",),
    ),
    "fingerprints-out-of-one-service": Fault(
        master("-P", "closedmail-ndb/unix/smtp_tls_fingerprint_digest=md5"),
        "smtp-fingerprint-digest",
        "of closedmail-ndb/unix",
        ("-P closedmail-ndb/unix/smtp_tls_fingerprint_digest=sha256",),
    ),
    "dane": Fault(
        both(
            toml('{ tls = "may" }', '{ tls = "dane" }'),
            master("-P", "closedmail-ndb/unix/smtp_tls_security_level=dane"),
        ),
        "dane-dns",
        "plain text",
        ("-P closedmail-ndb/unix/smtp_dns_support_level=dnssec",),
    ),
    "no-transport": Fault(
        toml('{ tls = "may" }', '{ tls = "may", transport = "ndb" }'),
        "transport-missing",
        "master.cf has no unix service ndb, which outbound.transport names",
        (
            "-M -e 'ndb/unix=ndb unix - - y - - smtp -o syslog_name=postfix/ndb -o smtp_fallback_relay= -o "
            "smtp_tls_security_level=encrypt -o smtp_tls_policy_maps=hash:FOLDER/state/postfix/tls_policy'",
        ),
    ),
    "no-service-of-its-own": Fault(
        master("-MX", "closedmail-ndb/unix"),
        "transport-missing",
        "master.cf has no unix service closedmail-ndb",
        (f"-M -e 'closedmail-ndb/unix=closedmail-ndb unix - - y - - smtp {SERVICE}'",),
    ),
    "its-table-is-lost": Fault(
        master("-PX", "closedmail-ndb/unix/smtp_tls_policy_maps"),
        "network-service",
        "it lacks -o smtp_tls_policy_maps=hash:",
        (f"-M -e 'closedmail-ndb/unix=closedmail-ndb unix - - y - - smtp {SERVICE} {CAS}'",),
    ),
    "it-does-not-fail-closed": Fault(
        both(
            toml('{ tls = "may" }', '{ tls = "encrypt" }'),
            master("-P", "closedmail-ndb/unix/smtp_fallback_relay=relay.example"),
        ),
        "network-service",
        "its smtp_tls_security_level is may, not encrypt; its smtp_fallback_relay is relay.example, not empty",
        (
            "-M -e 'closedmail-ndb/unix=closedmail-ndb unix - - y - - smtp "
            f"{SERVICE.replace('=may', '=encrypt')} {CAS}'",
        ),
    ),
    "smtp-has-more": Fault(
        both(
            master("-P", "smtp/unix/smtp_bind_address=192.0.2.5"),
            master("-F", "smtp/unix/process_limit=7", "smtp/unix/chroot=n"),
            main(
                "smtp_destination_concurrency_limit = 5", "smtp_destination_rate_delay=$default_destination_rate_delay"
            ),
        ),
        "network-service",
        "chroot is y, and that of smtp is n; process limit is -, and that of smtp is 7; "
        "it lacks -o smtp_bind_address=192.0.2.5; main.cf lacks closedmail-ndb_destination_concurrency_limit = 5",
        (
            "-M -e 'closedmail-ndb/unix=closedmail-ndb unix - - n - 7 smtp "
            f"{SERVICE} -o smtp_bind_address=192.0.2.5 {CAS}'",
            "-e 'closedmail-ndb_destination_concurrency_limit = 5' "
            "'closedmail-ndb_destination_rate_delay = $default_destination_rate_delay'",
        ),
    ),
    "a-shared-service": Fault(
        both(
            shared(f"smtp_tls_policy_maps={TABLE}", "smtp_fallback_relay="),
            main("smtp_tls_policy_maps = hash:FOLDER/state/postfix/tls_policy"),
        ),
        "shared-service",
        "the lists of ndb can loosen the TLS policy of other mail to a host that they name, because smtp/unix, relay/",
        severity="warning",
    ),
    "an-own-domain-is-missing": Fault(
        main("virtual_alias_domains = inline:{ stadt.example=x }", "relay_domains = other.example sub.city.example"),
        "own-domains",
        "stadt.example (virtual_alias_domains), other.example (relay_domains), which own_domains does not cover",
        severity="warning",
    ),
    "a-partner-is-local": Fault(
        main("mydestination = $myhostname, city.example, koeln.example, localhost"),
        "partner-local",
        "mydestination has koeln.example, which is a partner's",
        ("-e 'mydestination = $myhostname, city.example, localhost'",),
        by_hand=True,
    ),
    "a-partner-is-virtual": Fault(
        main("virtual_mailbox_domains = inline:{ {x.land.example=1} }"),
        "partner-local",
        "x.land.example (by .land.example), which is a partner's",
    ),
    "a-partner-is-relayed": Fault(
        main("relay_domains = koeln.example"),
        "partner-relayed",
        "anybody may relay",
        ("-e 'relay_domains ='",),
        by_hand=True,
    ),
    "a-partner-below-what-is-relayed": Fault(
        both(
            main("relay_domains = example.org"),
            toml('own_domains = ["city.example"]', 'own_domains = ["city.example", "example.org"]'),
            lambda well: well.config.write_text(
                f'{well.config.read_text()}[partner."a.example.org"]\nnetwork = "ndb"\n'
            ),
        ),
        "relay-parents",
        "a.example.org (below example.org)",
        (
            "-e 'parent_domain_matches_subdomains = debug_peer_list, fast_flush_domains, mynetworks, "
            "permit_mx_backup_networks, qmqpd_authorized_clients, smtpd_access_maps'",
        ),
        by_hand=True,
    ),
    "masquerading": Fault(
        main("masquerade_domains = koeln.example"),
        "masquerade",
        "changes senders after",
        (f"-e 'masquerade_classes = {CLASSES}'",),
        severity="warning",
        by_hand=True,
    ),
    "canonical": Fault(
        main("canonical_maps = inline:{ a@b.example=c@koeln.example }"),
        "canonical",
        "take envelope_sender out of canonical_classes",
        ("-e 'canonical_classes = envelope_recipient, header_sender, header_recipient'",),
        severity="warning",
        by_hand=True,
    ),
    "canonical-senders": Fault(
        main("sender_canonical_maps = inline:{ a@b.example=c@koeln.example }"),
        "canonical",
        "sender_canonical_maps",
        ("-e 'sender_canonical_classes = header_sender'",),
        severity="warning",
        by_hand=True,
    ),
    "a-command-filter": Fault(
        main("smtpd_command_filter = pcre:/etc/postfix/filter"),
        "command-filter",
        "MAIL FROM as well",
        ("-e 'smtpd_command_filter ='",),
        severity="warning",
        by_hand=True,
    ),
    "a-filter-elsewhere": Fault(
        main("content_filter = smtp:[192.0.2.25]:10025"),
        "filter-route",
        "content_filter = smtp:[192.0.2.25]:10025: such mail to partners goes there and not to its route",
        severity="warning",
    ),
    "a-filter-by-the-mx": Fault(
        entry("587 inet n - y - - smtpd -o content_filter=smtp:"),
        "filter-route",
        "content_filter of 587/inet in master.cf = smtp:",
        severity="warning",
    ),
    "a-header-that-filters": Fault(
        both(
            lambda well: (well.folder / "checks").write_text("/^Subject: .*secret/ FILTER relay:scan.example\n"),
            main("header_checks = regexp:FOLDER/checks"),
        ),
        "filter-route",
        "FILTER relay:scan.example",
        severity="warning",
    ),
    "an-access-table-that-filters": Fault(
        main(
            "smtpd_recipient_restrictions = check_recipient_access inline:{{koeln.example = FILTER smtp:[h.example]}}"
        ),
        "filter-route",
        "has FILTER smtp:[h.example]",
        severity="warning",
    ),
    "unknown-senders": Fault(
        main("smtpd_sender_restrictions = $closedmail_check, reject_unknown_sender_domain, permit"),
        "unknown-sender-domain",
        "partners whose domains the public DNS does not know",
        ("-e 'smtpd_sender_restrictions = $closedmail_check, permit'",),
        severity="warning",
        by_hand=True,
    ),
    "unknown-recipients": Fault(
        main("smtpd_recipient_restrictions = reject_unknown_recipient_domain"),
        "unknown-recipient-domain",
        "mail to partners",
        ("-e 'smtpd_recipient_restrictions ='",),
        severity="warning",
        by_hand=True,
    ),
    "unlisted-senders": Fault(
        main("smtpd_reject_unlisted_sender = yes"),
        "unlisted-sender",
        "held or closed",
        ("-e 'smtpd_reject_unlisted_sender = no'",),
        severity="warning",
        by_hand=True,
    ),
    "everybody-with-a-certificate": Fault(
        main("smtpd_relay_restrictions = permit_mynetworks, permit_tls_all_clientcerts, defer_unauth_destination"),
        "permit-tls-all-clientcerts",
        "every member of the network",
        ("-e 'smtpd_relay_restrictions = permit_mynetworks, defer_unauth_destination'",),
    ),
    "backup-mx": Fault(
        main("smtpd_relay_restrictions = permit_mynetworks, permit_mx_backup, defer_unauth_destination"),
        "permit-mx-backup",
        "relay_domains",
        ("-e 'smtpd_relay_restrictions = permit_mynetworks, defer_unauth_destination'",),
        severity="warning",
        by_hand=True,
    ),
    "a-partners-address-is-trusted": Fault(
        toml('own_domains = ["city.example"]', 'own_domains = ["city.example"]\ntrusted_clients = ["198.51.100.7"]'),
        "allow-from-trusted",
        "network.ndb.inbound.allow_from has 198.51.100.0/24, which overlaps trusted_clients (198.51.100.7/32)",
        severity="warning",
    ),
    "own-clients-are-not-trusted": Fault(
        main("mynetworks = 127.0.0.0/8 [::1]/128 192.0.2.0/28"),
        "mynetworks-trusted",
        'write "192.0.2.0/28" into trusted_clients',
        severity="warning",
    ),
}


def command_of(well: Patient, fix: str) -> str:
    return f"postconf -c {well.etc} {fix}".replace("FOLDER", str(well.folder))


def test_a_gateway_as_in_the_example(well: Patient) -> None:
    assert well.findings() == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(well: Patient, name: str) -> None:
    fault = FAULTS[name]
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", well.folder / "bundle.pem")
    fault.put(well)
    found = well.findings()
    assert [item.id for item in found] == [fault.id], found
    (finding,) = found
    assert fault.text in finding.text
    assert finding.fix == tuple(command_of(well, fix) for fix in fault.fix)
    assert (finding.severity, finding.by_hand) == (fault.severity, fault.by_hand)
    if finding.fix:
        well.mend(finding)
        assert well.findings() == []


# What the table can't hold


def test_the_service_that_other_mail_has(well: Patient) -> None:
    """Without a service of its own, the network's policies must be read by all mail, before those of others."""
    toml('{ tls = "may" }', '{ tls = "may", transport = "smtp" }')(well)
    well.set("smtp_fallback_relay = relay.example")
    fallback, missing = well.findings()
    assert (fallback.id, fallback.fix) == ("fallback-relay", ())
    assert "a service of its own" in fallback.text
    assert (missing.id, missing.fix) == ("tls-policy-maps", (command_of(well, POLICY),))
    assert "may leave unencrypted" in missing.text
    well.set("smtp_fallback_relay =")
    well.mend(missing)
    assert [item.id for item in well.findings()] == ["shared-service"]
    well.set(f"smtp_tls_policy_maps = inline:{{ a.example=none }}, {TABLE}".replace("FOLDER", str(well.folder)))
    _, order = well.findings()
    assert order.id == "tls-policy-order"
    assert "a row of yours loosens" in order.text
    assert order.fix == (command_of(well, f"-e 'smtp_tls_policy_maps = {TABLE}, inline:{{ a.example=none }}'"),)


def test_a_gateway_with_all_ways_in(well: Patient) -> None:
    """The listeners of postfix-examples/ways-in, which have the check or are behind a filter on loopback."""
    for name in ("submission", "content-filter", "behind-a-filter"):
        with well.master.open("a") as file:
            file.write((WAYS / f"{name}.cf").read_text())
    well.set("content_filter = smtp:[127.0.0.1]:10025")
    assert well.findings() == []


@pytest.mark.parametrize(
    "filter_",
    [
        "smtp:[127.0.0.1]:10025",
        "smtp:[::1]:1",
        "lmtp:unix:private/x",
        "smtp:localhost:25",
        "scan:dummy",
        "discard:",
        "gone:x",
    ],
)
def test_a_filter_that_stays_here(well: Patient, filter_: str) -> None:
    with well.master.open("a") as file:
        file.write("scan unix - n n - - pipe argv=/bin/true\nlmtp unix - - y - - lmtp\n")
    (well.folder / "checks").write_text(f"/^X:/ FILTER {filter_}\n/FILTER smtp:x/ DUNNO\n")
    well.set(f"header_checks = regexp:{well.folder}/checks", f"content_filter = {filter_}")
    assert well.findings() == []


def test_a_milter_in_place_of_the_check(well: Patient) -> None:
    """It decides as well, unless a rule needs what Postfix does not tell a milter."""
    well.set("smtpd_milters = unix:closedmail/milter.sock", "smtpd_sender_restrictions =", "smtpd_data_restrictions =")
    assert [item.id for item in well.findings()] == ["sender-restrictions", "data-restrictions"]
    well.edit(well.config, "pubkey_fingerprint", "issuer")
    assert well.findings() == []


def test_what_is_listed_and_missing_is_read_from_tables(well: Patient) -> None:
    table = well.folder / "relayed"
    table.write_text("koeln.example\tOK\nelsewhere.example\tOK\n")
    well.postfix("postmap", "-c", str(well.etc), f"hash:{table}")
    (well.folder / "more").write_text("# own\nthird.example\n!not.example\n")
    well.set(f"relay_domains = hash:{table}", f"mydestination = city.example, {well.folder}/more")
    partner, own = well.findings()
    assert (partner.id, own.id) == ("partner-relayed", "own-domains")
    assert f"it is in hash:{table}" in partner.text
    assert partner.fix == ()
    assert "third.example (mydestination), elsewhere.example (relay_domains), which" in own.text


def test_a_table_without_ok_in_front_is_fine(well: Patient) -> None:
    well.set("smtpd_sender_restrictions = check_sender_access inline:{ a.example=REJECT }, $closedmail_check")
    assert well.findings() == []


def test_a_partners_network_in_mynetworks(well: Patient) -> None:
    well.set("mynetworks = 127.0.0.0/8 198.51.100.0/28")
    assert [item.id for item in well.findings()] == ["allow-from-mynetworks", "mynetworks-trusted"]


@pytest.mark.parametrize("name", ["transport.db", "tls_policy.db", "tls_policy-ndb.db"])
def test_a_map_that_is_not_there(well: Patient, name: str) -> None:
    path = well.folder / "state" / "postfix" / name
    path.unlink()
    (finding,) = well.findings()
    assert (finding.id, finding.fix) == ("map-missing", (f"closedmail --config {well.config} sync",))
    assert str(path) in finding.text
    well.mend(finding)
    assert well.findings() == []


def test_another_type_that_main_cf_names_is_made(well: Patient) -> None:
    """By the next run; nothing is to be changed in main.cf."""
    maps = well.folder / "state" / "postfix"
    guard = f"regexp:{maps}/recipients_unusual"
    well.set(f"transport_maps = $default_database_type:{well.etc}/transport, proxy:lmdb:{maps}/transport, {guard}")
    finding, shared = well.findings()
    for item, name in ((finding, "transport"), (shared, "tls_policy")):  # which nothing names, and gets the same type
        assert (item.id, item.fix) == ("map-missing", (f"closedmail --config {well.config} sync",))
        assert f"{maps}/{name}.lmdb is as a text only" in item.text
    well.mend(finding)
    assert well.findings() == []


def test_a_map_that_postfix_may_not_read(well: Patient) -> None:
    for path, mode, fix in (("postfix/transport.db", 0o600, "0644"), ("postfix", 0o700, "0755")):
        full = well.folder / "state" / path
        full.chmod(mode)
        finding = well.findings()[0]
        assert (finding.id, finding.fix) == ("map-access", (f"chmod {fix} {full}",))
        well.mend(finding)
        assert well.findings() == []


def test_a_socket_that_postfix_may_not_use(well: Patient) -> None:
    path = well.folder / "queue" / "closedmail"
    path.chmod(0o700)
    (finding,) = well.findings()
    assert (finding.id, finding.fix) == ("socket-access", (f"chmod o+x {path}",))
    well.mend(finding)
    assert well.findings() == []
    path.chmod(0o755)
    (path / "policy.sock").chmod(0o600)
    (finding,) = well.findings()
    assert (finding.id, finding.fix) == ("socket-access", ())
    assert 'socket_group = "postfix"' in finding.text
    (path / "policy.sock").chmod(0o660)


def test_policyd_does_not_answer() -> None:
    with patient(wired=True, daemon=False) as well:
        (finding,) = well.findings()
        assert (finding.id, finding.severity) == ("policyd", "error")
        assert f"policyd does not answer on unix:{well.folder}/queue/closedmail/policy.sock" in finding.text
        # One that answers where a chrooted smtpd can't ask is no help.
        well.edit(well.config, f"{well.folder}/queue/closedmail", f"{well.folder}/run")
        with Daemon(well.config):
            (finding,) = well.findings()
            assert (finding.id, finding.fix) == ("socket-chroot", ())
            assert f'listen = ["unix:{well.folder}/queue/closedmail/policy.sock"]' in finding.text
            # Without a chroot it is only the wrong place.
            well.postconf("-F", "smtp/inet/chroot=n")
            (finding,) = well.findings()
            assert finding.id == "socket-path"
            well.mend(finding)
            assert well.findings() == []


def test_a_policyd_over_tcp(well: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("closedmail.doctor.listening_state._users", tuple)
    well.edit(well.config, 'listen = ["unix', 'listen = ["inet:127.0.0.1:0", "unix')
    with Daemon(well.config, "--listen", "inet:127.0.0.1:0") as daemon:
        where = daemon.where[0]
        well.edit(well.config, "inet:127.0.0.1:0", where)
        well.set(f"closedmail_check = check_policy_service {where}")
        assert well.findings() == []
    with Squatter(where):
        impostor, asked = well.findings()
        assert (impostor.id, asked.id) == ("impostor", "socket-path")  # where a UNIX socket answers, as here
        assert f"the user nobody listens on {where} in the place of policyd" in impostor.text
        status = closedmail_inside("status", "--json", config=well.config).json
        assert (status["state"], impostor.text in status["problems"]) == ("critical", True)


def test_nothing_is_in_force(well: Patient) -> None:
    state = well.folder / "state"
    state.rename(well.folder / "aside")
    try:
        found = well.findings()
    finally:
        (well.folder / "aside").rename(state)
    # policyd has no generation either, and closes the connection.
    assert [item.id for item in found] == ["no-generation", "policyd", *["map-missing"] * 4]
    assert found[0].fix == (f"closedmail --config {well.config} sync",)


def test_a_list_that_is_too_old(well: Patient) -> None:
    (finding,) = well.findings(later=2 * 86400)
    assert (finding.id, finding.severity) == ("list-age", "error")
    assert finding.text.startswith("ndb: no successful fetch since")
    assert finding.fix == (f"closedmail --config {well.config} sync",)


@pytest.mark.real("gpg")
def test_a_key_that_expires_soon(well: Patient, tmp_path_factory: pytest.TempPathFactory) -> None:
    expires = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 20 * 86400))
    signer = Signer(tmp_path_factory.mktemp("s") / "h", "Net <list@net.example>", expires=expires)
    try:
        (well.folder / "key.asc").write_bytes(signer.public())
    finally:
        signer.stop()
    pinned = f'key_file = "{well.folder}/key.asc"\nsigning_keys = ["{signer.fingerprint}"]'
    well.edit(well.config, 'signature = "none"', pinned)
    (finding,) = well.findings()
    assert (finding.id, finding.severity) == ("signing-key", "warning")
    assert f"ndb: key {signer.fingerprint} expires in" in finding.text


def test_postfix_can_not_be_asked(well: Patient) -> None:
    well.edit(well.config, f'config_directory = "{well.etc}"', f'config_directory = "{well.folder}/none"')
    (finding,) = well.findings()
    assert finding.id == "postfix"
    assert f"{well.folder}/none/main.cf" in finding.text
    assert "config_directory of [postfix]" in finding.text


# The command


def test_the_command(well: Patient) -> None:
    done = closedmail_inside("doctor", config=well.config)
    assert (done.status, done.stdout, done.stderr) == (0, "Nothing is wrong.\n", "")
    done = closedmail_inside("doctor", "--json", config=well.config)
    assert (done.status, json.loads(done.stdout)) == (0, {"findings": []})
    well.set("smtpd_data_restrictions =")
    well.settle()
    done = closedmail_inside("doctor", "--json", config=well.config)
    fix = f"postconf -c {well.etc} -e 'smtpd_data_restrictions = $closedmail_check'"
    text = (
        "smtpd_data_restrictions does not ask closedmail: mail in a partner's name to a bare <postmaster> passes "
        "unchecked"
    )
    assert done.status == 1
    assert json.loads(done.stdout) == {
        "findings": [{"id": "data-restrictions", "severity": "error", "text": text, "fix": [fix]}]
    }
    done = closedmail_inside("doctor", config=well.config)
    assert (done.status, done.stdout) == (1, f"error: {text} (data-restrictions)\n    {fix}\n")


def test_a_user_that_may_not_ask_policyd(well: Patient) -> None:
    (well.folder / "queue" / "closedmail" / "policy.sock").chmod(0o660)
    done = closedmail_as(NOBODY, "doctor", "--json", config=well.config)
    found = [item["id"] for item in json.loads(done.stdout)["findings"]]
    # Neither may it read the store.
    assert (done.status, found) == (1, ["no-generation", "not-asked"])


@pytest.mark.real("postfix")
@pytest.mark.parametrize(("level", "chrooted"), [("0", True), ("3.6", False)])
def test_a_dash_for_chroot(tmp_path: Path, level: str, chrooted: bool) -> None:
    """Its meaning depends on compatibility_level (master(5))."""
    (tmp_path / "main.cf").write_text(f"compatibility_level = {level}\n")
    entries = ("smtp inet n - - - - smtpd", "1025 inet n - y - - smtpd", "1026 inet n - n - - smtpd")
    (tmp_path / "master.cf").write_text("\n".join((*entries, "")))
    found = inspect_postfix(str(tmp_path)).services
    assert [item.chroot for item in found] == [chrooted, True, False]
