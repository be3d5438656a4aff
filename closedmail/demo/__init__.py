"""A complete closed network on loopback: `closedmail demo`, and the parts that the tests use too."""
