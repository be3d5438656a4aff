"""What makemap(8) can read."""

MAX_LINE = 1023  # bytes: lines are read into a buffer of 1,024, and longer ones break apart
