"""The checks of `closedmail doctor`, one theme a module: facts in, findings out, without I/O."""
