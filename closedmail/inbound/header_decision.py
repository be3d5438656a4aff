"""Decide about a message's header: each address in `From:` and `Sender:` needs the proof of an envelope sender."""

from collections.abc import Callable, Iterable, Iterator

from closedmail.core.address import parse_client
from closedmail.core.rule import Rule
from closedmail.inbound.decision import Verdict, claimed, exemption, judge, worst
from closedmail.inbound.facts import Envelope
from closedmail.inbound.header_sender import header_domains
from closedmail.inbound.partner import Rulebook


def decide_header(values: Iterable[bytes], envelope: Envelope, book: Rulebook) -> Verdict:
    """Decide about a message by the values of its `From:` and `Sender:`. Raises HeaderError."""
    return decide_names(lambda: header_domains(values, book.rewriting), envelope, book)


def decide_names(names: Callable[[], Iterable[str]], envelope: Envelope, book: Rulebook) -> Verdict:
    """Decide about a message by the domains in its `From:` and `Sender:`; the gravest verdict counts.

    Of the envelope only the client and its session matter: null and own senders are not exempt. `names` is called
    where they matter.
    """
    client = parse_client(envelope.client_address)
    exempt = exemption(envelope, client, book)
    if exempt:
        return exempt

    def verdicts() -> Iterator[Verdict]:
        for name in names():
            found = claimed(name, book)
            if isinstance(found, Verdict):
                yield found
            elif found.rule.inbound.header_from != "off" and client not in found.rule.header_exempt:
                yield judge(name, found, envelope, client, book.generation, found.rule.header_mode)

    return worst(verdicts())


def unenforceable_headers(rules: Iterable[Rule], *, sendmail: bool) -> Iterator[str]:
    """Write a sentence for each rule whose `header_from` depends on facts that the MTA does not send to a milter.

    Postfix sends a milter no fingerprint, Sendmail (`sendmail`) none of the public key.
    """
    for rule in rules:
        inbound = rule.inbound
        if rule.header_mode == "off" or "cert" not in inbound.require:
            continue
        unseen = [
            f"certificates[{at}]"
            for at, pin in enumerate(inbound.certificates)
            if pin.pubkey_fingerprint or (pin.fingerprint and not sendmail)
        ]
        if unseen:
            what = "fingerprints of the public key" if sendmail else "fingerprints"
            yield (
                f"{rule.table}.inbound.header_from can't be enforced with {', '.join(unseen)}: "
                f"{'Sendmail' if sendmail else 'Postfix'} sends a milter no {what}; pin subject and issuer there, "
                "or let addresses decide"
            )
