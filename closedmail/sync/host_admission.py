"""What a list may speak about and where it may route, by the configuration and this host: for `sync` and `lint`."""

from closedmail.core.domain import DomainSet
from closedmail.core.model import Config
from closedmail.core.suffixes import PublicSuffixes
from closedmail.mailertable.admission import Admission
from closedmail.mailertable.route_hosts import RouteFaults
from closedmail.mta.own_addresses import own_addresses


def admission_of(config: Config | None, suffixes: PublicSuffixes) -> Admission:
    """Give the admission of all lists; None for no configuration. `Admission.of_list` adds the bounds of one.

    This host's addresses are read anew each time. They are no part of what makes a generation due: they come and go
    (temporary IPv6 addresses, an address that a cluster moves), and a line that was taken keeps its route then.
    """
    own = config.gateway.own_domains if config else ()
    partners = frozenset(partner.key for partner in config.partners) if config else frozenset()
    return Admission(DomainSet(own), suffixes, partners, route_faults=RouteFaults(own_addresses()))
