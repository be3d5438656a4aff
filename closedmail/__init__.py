"""closedmail: the gateway kit for closed mail networks on Postfix and Sendmail."""

__version__ = "0.1.0"
