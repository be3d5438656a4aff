"""`closedmail explain`: why a mail is accepted, refused or routed."""
