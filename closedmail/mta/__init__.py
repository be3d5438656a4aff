"""Read the configuration of an installed Postfix or Sendmail."""
