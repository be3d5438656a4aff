"""Mailers of Sendmail by name: those that route, and those that never may."""

ROUTING_MAILERS = frozenset({"smtp", "esmtp", "smtp8", "dsmtp", "relay"})
# Mailers that run programs or deliver locally (cf/mailer/*.m4, and sendmail's own *file*, *include*, prog).
LOCAL_MAILERS = frozenset(
    {
        *("local", "prog", "procmail", "virtual", "cyrus", "cyrusv2", "cyrusbb", "cyrusv2d", "usenet", "fax", "pop"),
        *("uucp", "uucp-old", "uucp-new", "uucp-dom", "uucp-uudom", "suucp", "mail11", "phquery", "ph", "qpage"),
        *("mailman", "lmtp", "bsmtp", "*file*", "*include*"),
    }
)
