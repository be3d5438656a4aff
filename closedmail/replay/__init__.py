"""`closedmail replay`: judge mail that was already received, from the mail log."""
