"""Provide what the policy daemon and the milter share: sockets, systemd, counters, the log line."""
