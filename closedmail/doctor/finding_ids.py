"""List all findings by their ids: when each is fixed, how bad it is, and what it means.

closedmail-doctor(8) lists them with these texts. An id is part of the public interface: scripts know it.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

Severity = Literal["error", "warning"]


class Phase(IntEnum):
    """The step in which a finding is fixed: doctor lists findings and setup fixes them in this order."""

    PUBLISH = 1  # without it sync publishes nothing
    ANSWER = 2  # what the mail server will ask or read must exist first, or it defers all mail
    CONFIGURE = 3
    CONNECT = 4  # has the mail server ask closedmail, or read its maps


@dataclass(frozen=True, slots=True)
class FindingKind:
    """A kind of finding. `severity` is the usual one, `meaning` is one line.

    An `error` lets mail leak, be lost or pass unchecked; a `warning` will do so, or may.
    """

    phase: Phase
    severity: Severity
    meaning: str


def _kinds(phase: Phase, severity: Severity, meanings: dict[str, str]) -> dict[str, FindingKind]:
    return {name: FindingKind(phase, severity, meaning) for name, meaning in meanings.items()}


FINDINGS: dict[str, FindingKind] = {
    **_kinds(
        Phase.PUBLISH,
        "error",
        {
            "makemap": "There is no makemap, which makes Sendmail's maps.",
            "network-service": "A network's own service in master.cf lacks what it needs, or differs from smtp.",
            "own-rows": "A file of your own rows (own_mailertable, own_access) can't be read by sync.",
            "postfix": "Postfix can't be asked for its configuration.",
            "postfix-version": "Postfix is older than 3.5.",
            "service-user": "The user who runs closedmail can't read its configuration, or Python's own files.",
            "transport-missing": "master.cf lacks the service that delivers to partners.",
        },
    ),
    **_kinds(
        Phase.ANSWER,
        "error",
        {
            "impostor": "A process of another user listens in the place of a daemon of closedmail's.",
            "map-access": "A map can't be read by the mail server.",
            "map-folder": "Others may write the folder of Sendmail's maps, which Sendmail then refuses to use.",
            "map-missing": "A map is not there, or its index is not.",
            "milter": "closedmail's milter does not answer.",
            "milter-folder": "Others may write the folder of the milter's socket, which Sendmail then refuses to use.",
            "no-generation": "No generation is in force.",
            "policyd": "closedmail's policy service does not answer.",
            "socket-access": "Postfix may not use the policy service's socket.",
        },
    ),
    **_kinds(
        Phase.ANSWER,
        "warning",
        {
            "not-asked": "Whether anything answers on a socket is not known: this user may not connect to it.",
        },
    ),
    **_kinds(
        Phase.CONFIGURE,
        "error",
        {
            "ask-ccert": "Clients are not asked for a certificate, and partners must show one.",
            "bare-newline": "A mail can have another mail in it (SMTP smuggling).",
            "cert-altnames": "Sendmail compares a partner's certificate with a name other than the one demanded.",
            "client-ca": "The mail server trusts no CA, and certificates are pinned by subject or issuer.",
            "client-ca-missing": "The file of trusted CAs is not there.",
            "dane-dns": "A service whose partners use DANE does no DNSSEC look-ups.",
            "default-action": "Mail passes unchecked while the policy service does not answer.",
            "fallback-relay": "Partners' mail goes to another relay when their hosts are down.",
            "fingerprint-digest": "The mail server makes fingerprints of another digest than is configured.",
            "old-mapping": "Postfix maps recipients' domains in the old way, past closedmail's rows.",
            "list-age": "A list was never fetched, not for too long, or was signed too long ago.",
            "map-optional": "Sendmail ignores a map that it can't read.",
            "milter-default-action": "Mail passes unchecked while the milter does not answer (Postfix).",
            "milter-flags": "Mail passes unchecked, or is refused, while the milter does not answer (Sendmail).",
            "nocanonify": "The public DNS may redirect partners' mail: Sendmail asks it before the mailertable.",
            "open-relay": "Sendmail relays for everybody.",
            "outbound-ca": "Partners' certificates are to be verified, and Sendmail trusts no CA.",
            "parent-domain-transport": "Rows for all below a domain are never found in transport maps.",
            "partner-local": "The mail server takes a partner's domain for its own.",
            "partner-overridden": "A row of your own tables is used in place of a partner's route or TLS policy.",
            "partner-relayed": "Anybody may relay to a partner's domain through this gateway.",
            "permit-tls-all-clientcerts": "Whoever has a certificate of a trusted CA may relay.",
            "pubkey-fingerprint": "A public key is pinned, which Sendmail does not give to the milter.",
            "reinjection-check": "Mail that comes back from a content filter is checked a second time.",
            "reinjection-exposed": "A listener for a content filter is open to other machines, and asks nobody.",
            "relay-by-sender": "Whoever writes one of your senders may relay.",
            "relay-parents": "A partner lies below a domain that this gateway relays to for everybody.",
            "sendmail": "sendmail.cf can't be read.",
            "sendmail-mailers": "sendmail.cf lacks the mailers that partners' routes name.",
            "signing-key": "A pinned key is missing, revoked, expired, about to expire, or can't be read.",
            "smtp-fingerprint-digest": "Postfix makes fingerprints of another digest than those in tls_match.",
            "smtpd-certificate": "Postfix has no certificate of its own, and partners must use TLS.",
            "smtpd-tls": "Postfix does not offer STARTTLS, and partners must use TLS.",
            "starttls": "Sendmail does not offer STARTTLS, and partners must use TLS.",
            "timer": "Nothing fetches the lists regularly.",
            "tls-policy-order": "A table of yours comes before closedmail's TLS policies, and may loosen them.",
            "tls-required": "A header of a mail can switch a partner's TLS policy off.",
        },
    ),
    **_kinds(
        Phase.CONFIGURE,
        "warning",
        {
            "allow-from-mynetworks": "Partners' clients overlap those that may relay.",
            "allow-from-trusted": "Partners' clients overlap trusted_clients.",
            "canonical": "Senders are rewritten after the check.",
            "client-ca-public": "The mail server trusts public CAs: anybody can get a certificate with the right name.",
            "client-key": "The key for the list's server can be read by the policy service and the milter as well.",
            "command-filter": "SMTP commands are rewritten before the check.",
            "delay-reject": "Mail is refused before its recipient is known.",
            "filter-route": "A filter on another machine gets partners' mail, whatever their routes are.",
            "listen-everywhere": "A daemon listens on all addresses of this machine.",
            "listen-shared": "A daemon listens on TCP, and other users of this machine can take its port.",
            "masquerade": "Senders are masqueraded after the check.",
            "mynetworks-trusted": "Clients that may relay are not in trusted_clients.",
            "own-table": "A table of yours can't be read: whether it has rows for partners is not known.",
            "own-domains": "The mail server takes mail for a domain that own_domains does not cover.",
            "permit-mx-backup": "The gateway relays to whichever domain names it as its MX.",
            "sendmail-mc": "sendmail.mc was changed since sendmail.cf was made of it.",
            "shared-service": "A list can loosen the TLS policy of other mail.",
            "tls-loglevel": "The log lacks certificates, and mail can't be replayed from it.",
            "tls-perm-err": "Sendmail returns mail at once to its sender when a partner's TLS fails.",
            "transport-order": "closedmail's table comes before a transport map of yours.",
            "unit-address": "A daemon listens for other machines, and its systemd unit lets none of them connect.",
            "unknown-recipient-domain": "Recipients whose domain the public DNS does not know are refused.",
            "unknown-sender-domain": "Senders whose domain the public DNS does not know are refused.",
            "unlisted-sender": "Senders whose domain is held or closed are refused as unknown users.",
        },
    ),
    **_kinds(
        Phase.CONNECT,
        "error",
        {
            "access-map": "Sendmail does not look into closedmail's access table.",
            "check-after-permit": "Another restriction may permit mail before closedmail is asked.",
            "data-restrictions": "Postfix does not ask closedmail at DATA: mail to <postmaster> passes unchecked.",
            "mailertable-map": "Sendmail does not look into closedmail's mailertable.",
            "map-type": "Postfix expects a map of another type than sync makes.",
            "milter-macro": "Postfix does not tell the milter its name: certificates are left out of account.",
            "milter-missing": "Sendmail does not ask the milter.",
            "milter-socket": "Sendmail connects to another socket than the milter listens on.",
            "milter-unused": "A listener of Sendmail's does not ask the milter.",
            "recipient-spellings": "Postfix does not refuse unusual spellings of a partner's domain.",
            "sender-restrictions": "Postfix does not ask closedmail about senders.",
            "sendmail-map-type": "Sendmail expects a map of another type than sync makes.",
            "sendmail-stale": "Sendmail runs with files that have changed since it was started.",
            "socket-chroot": "Postfix is chrooted, and can't reach the policy service's socket.",
            "socket-path": "Postfix asks where the policy service does not listen.",
            "tls-policy-maps": "Postfix does not look into closedmail's TLS policies.",
            "transport-maps": "Postfix does not look into closedmail's transport map.",
            "warn-if-reject": "Postfix only logs what closedmail refuses, and accepts the mail.",
        },
    ),
}
