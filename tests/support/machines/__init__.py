"""Debian trees, booted machines, containers and packages, and Sendmail, which has a machine of its own."""
