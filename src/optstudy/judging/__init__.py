"""Verdicts for runs that people already have: a table of runs instead of a study."""
