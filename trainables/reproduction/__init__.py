"""Training of recorded runs again, and comparison with their records."""
