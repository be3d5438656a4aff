"""Shared by the policy daemon and the milter: sockets, systemd, counters, the log line."""
