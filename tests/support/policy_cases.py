"""Requests to the policy service, each with the action and the verdict that it must have."""

RIGHT, WRONG = "192.0.2.1", "192.0.2.9"
REFUSED = (
    "REJECT 5.7.1 Mail from koeln.example is accepted through ndb only: "
    "client address 192.0.2.9 is not authorised for it"
)

CASES: list[tuple[dict[str, str | bytes], str, str]] = [
    ({"sender": "u@koeln.example", "client_address": RIGHT}, "DUNNO", "accept"),
    ({"sender": "u@koeln.example", "client_address": WRONG}, REFUSED, "reject"),
    ({"sender": "u@koeln.example", "client_address": "2001:db8::77"}, "DUNNO", "accept"),
    ({"sender": "u@koeln.example", "client_address": "::ffff:192.0.2.1"}, "DUNNO", "accept"),
    ({"sender": "u@koeln.example", "client_address": "::ffff:192.0.2.9"}, REFUSED, "reject"),
    ({"sender": "u@koeln.example", "client_address": "2001:db9::77"}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@koeln.example", "client_address": "unknown"}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@koeln.example", "client_address": ""}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@koeln.example", "client_address": "192.0.2.1:25"}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@koeln.example", "client_address": "192.0.2.01"}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@koeln.example", "client_address": "192.0.2.1 "}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "U@KOELN.Example", "client_address": WRONG}, REFUSED, "reject"),
    ({"sender": "u@koeln.example.", "client_address": WRONG}, REFUSED, "reject"),
    ({"sender": "u%koeln.example", "client_address": WRONG}, REFUSED, "reject"),
    ({"sender": "koeln.example!u", "client_address": WRONG}, REFUSED, "reject"),
    ({"sender": "u@evil.example@koeln.example", "client_address": WRONG}, REFUSED, "reject"),
    ({"sender": "u@düsseldorf.example", "client_address": WRONG}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@DÜSSELDORF.example", "client_address": WRONG}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@a.b.land.example", "client_address": WRONG}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@gone.example", "client_address": WRONG}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@defer.example", "client_address": WRONG}, "DEFER 4.7.1 ", "defer"),
    ({"sender": "u@report.example", "client_address": WRONG}, "WARN ", "report"),
    ({"sender": "u@off.example", "client_address": WRONG}, "DUNNO", "accept"),
    ({"sender": "u@tls.example", "client_address": RIGHT}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@tls.example", "client_address": RIGHT, "encryption_protocol": "TLSv1.3"}, "DUNNO", "accept"),
    ({"sender": "u@alone.example", "client_address": "198.51.100.7"}, "DUNNO", "accept"),
    ({"sender": "u@alone.example", "client_address": RIGHT}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@own.city.example", "client_address": WRONG}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@cert.example", "client_address": RIGHT}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@cert.example", "ccert_fingerprint": ":".join(["AB"] * 32)}, "DUNNO", "accept"),
    ({"sender": "u@cert.example", "ccert_fingerprint": ":".join(["AB"] * 16)}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@cert.example", "ccert_pubkey_fingerprint": ":".join(["AB"] * 32)}, "REJECT 5.7.1 ", "reject"),
    (
        {"sender": "u@cert.example", "ccert_subject": "MX+201.cert.example", "ccert_issuer": "closed+20net+20ca"},
        "DUNNO",
        "accept",
    ),
    ({"sender": "u@cert.example", "ccert_subject": "mx+201.cert.example"}, "REJECT 5.7.1 ", "reject"),
    ({"sender": "u@cert.example", "ccert_issuer": "Closed+20Net+20CA"}, "REJECT 5.7.1 ", "reject"),
    (
        {"sender": "u@both.example", "client_address": RIGHT, "ccert_pubkey_fingerprint": ":".join(["CD"] * 32)},
        "DUNNO",
        "accept",
    ),
    (
        {"sender": "u@both.example", "client_address": WRONG, "ccert_pubkey_fingerprint": ":".join(["CD"] * 32)},
        "REJECT 5.7.1 ",
        "reject",
    ),
    ({"sender": "u@both.example", "client_address": RIGHT}, "REJECT 5.7.1 ", "reject"),
    # Not our business
    ({"sender": "", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "u@koeln.example", "client_address": WRONG, "sasl_username": "joe"}, "DUNNO", ""),
    ({"sender": "u@koeln.example", "client_address": "203.0.113.200"}, "DUNNO", ""),
    ({"sender": "u@city.example", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "u@below.city.example", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "u@stranger.example", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "u@sub.koeln.example", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "u@land.example", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "u@xkoeln.example", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "u@koeln.example@stranger.example", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "u%koeln.example@stranger.example", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": "nobody", "client_address": WRONG}, "DUNNO", ""),
    ({"sender": b"\xff\xfe@stranger.example", "client_address": WRONG}, "DUNNO", ""),
]
