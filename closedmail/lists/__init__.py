"""Obtain a list: fetch it and verify it."""
