"""Decide about a mail's sender: facts, rules and verdicts, without I/O."""
