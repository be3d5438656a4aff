"""Check that nobody listens in the place of policyd or the milter."""

from collections.abc import Iterator

from closedmail.core.model import Config
from closedmail.core.where import socket_path
from closedmail.daemon.socket_peer import impostor_sentence, stranger
from closedmail.daemon.socket_query import SocketAnswer, ask, ask_policy_service
from closedmail.milter.milter_health import NEGOTIATE, QUIT


def impostors(config: Config) -> Iterator[str]:
    """Yield a sentence for each TCP socket of the configuration at which another user's process listens.

    Of UNIX sockets the folder says who can listen. Where nobody listens is doctor's to say.
    """
    daemons = (
        ("policyd", config.policyd.listen, ask_policy_service),
        ("the milter", config.milter.listen, _ask_milter),
    )
    for daemon, listen, question in daemons:
        for where in listen:
            if not socket_path(where) and (user := stranger(question(where).user, config.gateway.state_dir)):
                yield impostor_sentence(where, user, daemon)


def _ask_milter(where: str) -> SocketAnswer:
    return ask(where, NEGOTIATE, 5, QUIT)
