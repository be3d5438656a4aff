"""The requests of a soak's peers: those with a known right answer, and the seeds of mutants."""

import random
from dataclasses import dataclass

from soak_world import EDITIONS, OF, World
from support.policy_reading import read_stream
from support.recorded import altered, recorded

_RECIPIENT = "plain-rcpt", "plain-data", "end-end-of-message", "two-recipients-rcpt", "early-mail"
_CLIENTS = "192.0.2.1", "192.0.2.9", "198.51.100.7", "2001:db8::25", "::ffff:192.0.2.77", "unknown", "203.0.113.5", ""


@dataclass(frozen=True, slots=True)
class Question:
    """A request without its instance, and what is right for it in each edition (bits A and B)."""

    head: bytes
    tail: bytes
    right: dict[int, bytes]

    def about(self, instance: bytes) -> bytes:
        """The request of one mail."""
        return self.head + instance + self.tail


def questions(world: World, chance: random.Random) -> list[Question]:
    """Every partner's right and wrong mails, strangers, bounces, logins, in random order."""
    templates = recorded()
    pick = chance.choice
    made = []
    for domain in [*world.senders(), *("stranger.example", "city.example", "a.kim.example", "below.city.example") * 50]:
        made += [
            altered(templates[pick(_RECIPIENT)], sender=f"u@{domain}", client_address=client)
            for client in (_CLIENTS[0], pick(_CLIENTS), pick(_CLIENTS))
        ]
        other = pick(("certificate-rcpt", "self-signed-rcpt", "tls-data", "sasl-rcpt", "ipv6-rcpt"))
        made.append(altered(templates[other], sender=f"U.{other}@{domain.upper()}"))
    made += [templates[name] for name in ("null-rcpt", "null-data", "early-connect", "early-ehlo")] * 50
    chance.shuffle(made)
    return [question(world, request) for request in made]


def question(world: World, request: bytes) -> Question:
    """The request, with what is right for it."""
    (attributes,) = read_stream(request).requests
    right = {}
    for edition in EDITIONS:
        answer = world.right(attributes, edition)
        assert answer is not None, request  # noqa: S101, the questions are ours
        right[OF[edition]] = answer + b"\n\n"
    head, mark, tail = request.partition(b"\ninstance=")
    return Question(head + mark, b"\n" + tail.partition(b"\n")[2], right)


def corpus(world: World, chance: random.Random) -> list[bytes]:
    """The recorded requests, and the same about partners of every network."""
    kept = list(recorded().values())
    senders = list(world.senders())
    for request in list(kept):
        for _ in range(20):
            client = chance.choice(("192.0.2.1", "192.0.2.9", "198.51.100.7", "2001:db8::25"))
            kept.append(altered(request, sender=f"u@{chance.choice(senders)}", client_address=client))
    return kept
