"""What can be wrong, one theme a module: facts in, findings out, without I/O."""
