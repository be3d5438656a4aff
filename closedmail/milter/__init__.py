"""Run the milter: the same decision for Sendmail and Postfix, through libmilter."""
