"""Make the numbered table of rules: what each network, or `[partner]`, demands of mail in and out.

A generation has few rules and many domains, so that a domain's record carries a rule's number only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from closedmail.core.address import AddressSet
from closedmail.core.model import Config, HeaderFrom, Inbound, Mode, Outbound


@dataclass(frozen=True)
class Rule:
    """One rule. `network` is "" for a partner without one, `title` the name for people, `partner` its table's key."""

    network: str
    title: str
    inbound: Inbound
    outbound: Outbound | None
    partner: str = ""

    @property
    def table(self) -> str:
        """The table of the configuration that it comes from."""
        return f'partner."{self.partner}"' if self.partner else f"network.{self.network}"

    @cached_property
    def allowed(self) -> AddressSet:
        """`allow_from`, ready for look-ups."""
        return AddressSet(self.inbound.allow_from)

    @cached_property
    def header_exempt(self) -> AddressSet:
        """`header_from_exempt`, ready for look-ups."""
        return AddressSet(self.inbound.header_from_exempt)

    @property
    def header_mode(self) -> Mode:
        """The treatment of a mail whose header lacks the proof: that of `mode`, limited by `header_from`."""
        inbound = self.inbound
        if inbound.header_from == "off" or inbound.mode == "off":
            return "off"
        return inbound.mode if inbound.header_from == "enforce" else "report"


def strongest_header_from(rules: Iterable[Rule]) -> HeaderFrom:
    """Return the strictest demand of these rules on the header: nothing, report, or enforce."""
    modes = {rule.header_mode for rule in rules}
    if modes & {"enforce", "defer"}:
        return "enforce"
    return "report" if "report" in modes else "off"


def rules_of(config: Config) -> list[Rule]:
    """List all rules of a configuration: one for each network, then one for each partner, in the order of the file."""
    titles = {network.name: network.title or network.name for network in config.networks}
    rules = [Rule(network.name, titles[network.name], network.inbound, network.outbound) for network in config.networks]
    for partner in config.partners:
        title = titles.get(partner.network, partner.key.removeprefix("."))
        rules.append(Rule(partner.network, title, partner.inbound, partner.outbound, partner.key))
    return rules
