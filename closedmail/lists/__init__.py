"""Bringing a list in: fetched, verified, read."""
