"""Looking after a gateway: what is in force, why a mail goes where it goes, what is wrong."""
