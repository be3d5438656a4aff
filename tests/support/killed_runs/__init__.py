"""Runs of `sync` that are killed, and readers that watch what is in force meanwhile."""
