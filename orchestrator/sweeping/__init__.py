"""State machine of a sweep, with the phases search, select and confirm."""
