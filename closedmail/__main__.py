"""`python3 -m closedmail`."""

from closedmail.cli.main import main

main()
