"""Make a generation: lists, rules and what is in force become one table of domains."""
