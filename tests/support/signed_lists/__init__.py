"""Signed lists, good and bad, and the keys and OpenPGP packets that they are made of."""
