"""A second reading of the policy protocol, by its rules alone and line by line, to compare the daemon's with."""

import re
from dataclasses import dataclass, field

LONGEST = 65536  # bytes of a request, without the empty line
# All that the daemon may ever say.
VALID_ANSWER = re.compile(
    rb"action=(?:DUNNO|REJECT 5\.7\.1 [^\n\r]{1,512}|DEFER 4\.7\.1 [^\n\r]{1,512}|WARN [^\n\r]{1,512})"
)


@dataclass
class Reading:
    """What a stream asks: whole requests, up to the first trouble if there is one."""

    requests: list[dict[bytes, bytes]] = field(default_factory=list)
    malformed: bool = False


def read_stream(stream: bytes) -> Reading:
    """What has to be answered of a stream, and whether the connection has to be closed then."""
    reading = Reading()
    *lines, unfinished = stream.split(b"\n")
    request: list[bytes] = []
    for line in lines:
        if line:
            request.append(line)
            continue
        attributes = _attributes(request)
        if attributes is None:
            reading.malformed = True
            return reading
        reading.requests.append(attributes)
        request = []
    size = sum(len(line) + 1 for line in request) + len(unfinished)
    reading.malformed = size > LONGEST + 1
    return reading


def _attributes(lines: list[bytes]) -> dict[bytes, bytes] | None:
    if sum(len(line) + 1 for line in lines) - 1 > LONGEST:
        return None
    attributes: dict[bytes, bytes] = {}
    for line in lines:
        name, separator, value = line.partition(b"=")
        if not separator or name in attributes:
            return None
        attributes[name] = value
    return attributes if attributes.get(b"request") == b"smtpd_access_policy" else None
