"""The page of a sweep: one HTML file with its tables, runs, verdicts and plan."""
