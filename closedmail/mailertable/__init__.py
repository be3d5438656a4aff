"""The network's list: the grammar of a Sendmail mailertable, and reading a whole list."""
