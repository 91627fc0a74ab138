"""Definition of a run: its specification and digest, its record on disk and its result."""
