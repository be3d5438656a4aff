"""Decide where mail goes: nexthops, and the TLS policy that each one needs."""
