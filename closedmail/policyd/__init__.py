"""The policy daemon: Postfix's SMTPD access policy protocol."""
