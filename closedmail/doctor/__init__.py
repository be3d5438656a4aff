"""`closedmail doctor` and `setup`: find what is wrong with the mail server's configuration, and fix it."""
