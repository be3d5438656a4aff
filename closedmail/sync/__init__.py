"""Run `closedmail sync`: from the networks' lists to one generation in force."""
