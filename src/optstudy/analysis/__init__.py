"""What a study's tables show: statistics, verdicts on its claims, and fairness findings."""
