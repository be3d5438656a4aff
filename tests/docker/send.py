"""Send one mail to the Postfix of this container, and print the answer: `send.py CLIENT_ADDRESS SENDER`."""

import json
import sys
from dataclasses import asdict

from closedmail.demo.smtp_client import deliver

client_address, sender = sys.argv[1:]
reply = deliver(
    "127.0.0.1",
    25,
    sender=sender,
    recipients=["office@city.example"],
    xclient={"ADDR": client_address, "NAME": "[UNAVAILABLE]"},
)
print(json.dumps(asdict(reply)))
