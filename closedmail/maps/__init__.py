"""Render the rows of Postfix's and Sendmail's maps for a generation."""
