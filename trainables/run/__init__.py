"""Definition of a run: its spec and digest, its record and its result."""
