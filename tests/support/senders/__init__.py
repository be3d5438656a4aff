"""Sender addresses: a corpus, a grammar of spellings, and a running Postfix as the oracle."""
