"""`closedmail compare`: an old table of routes beside the verified list."""
