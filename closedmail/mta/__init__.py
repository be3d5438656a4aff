"""Asking an installed Postfix or Sendmail about itself."""
