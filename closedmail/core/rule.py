"""A rule: what one network, or one `[partner]`, demands of mail in and out; and the numbered table of them.

A generation has few rules and many domains, so that a domain's record carries a rule's number only.
"""

from dataclasses import dataclass
from functools import cached_property

from closedmail.core.address import AddressSet
from closedmail.core.model import Config, Inbound, Outbound


@dataclass(frozen=True)
class Rule:
    """`network` is "" for a partner that stands alone, `title` the name for people, `partner` the key of its table."""

    network: str
    title: str
    inbound: Inbound
    outbound: Outbound | None
    partner: str = ""

    @property
    def table(self) -> str:
        """The table of the configuration that it is from."""
        return f'partner."{self.partner}"' if self.partner else f"network.{self.network}"

    @cached_property
    def allowed(self) -> AddressSet:
        """`allow_from`, ready to be asked."""
        return AddressSet(self.inbound.allow_from)


def rules_of(config: Config) -> list[Rule]:
    """All rules of a configuration: one for each network, then one for each partner, in the order of the file."""
    titles = {network.name: network.title or network.name for network in config.networks}
    rules = [Rule(network.name, titles[network.name], network.inbound, network.outbound) for network in config.networks]
    for partner in config.partners:
        title = titles.get(partner.network, partner.key.removeprefix("."))
        rules.append(Rule(partner.network, title, partner.inbound, partner.outbound, partner.key))
    return rules
