"""From tables to statistics, verdicts and fairness findings."""
