"""`closedmail status`: what is in force, how old it is, what is wrong; for people and for monitoring."""
