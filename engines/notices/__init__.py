"""Notices: what an operator is told outside the pages, and that silence is noticed."""
