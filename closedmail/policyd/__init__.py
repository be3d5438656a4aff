"""Run the policy daemon: Postfix's SMTPD access policy protocol."""
