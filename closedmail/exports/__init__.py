"""Export the routes and rules in force as other systems' configuration: one pure module a target (`targets.py`).

As in the core, no module here knows files, clocks or sockets: a `PublishedGeneration` comes in, lines of text go
out, and the same generation gives the same lines, byte for byte.
"""
