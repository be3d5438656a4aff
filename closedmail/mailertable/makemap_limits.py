"""Limits of makemap(8)."""

MAX_LINE = 1023  # bytes: lines are read into a buffer of 1,024, and longer ones break apart
