"""Keep what is in force in the policy store, an LMDB environment of its own.

One write transaction a generation; readers see the old one or the new one, whole. Postfix's own `.lmdb` maps are
never opened: LMDB's locking and Postfix's exclude each other.
"""
