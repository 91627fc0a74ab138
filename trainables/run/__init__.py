"""What a run is: its spec and digest, its record and its result."""
