"""The command line: click and printing only."""
