"""A plan being carried out, as a state machine: search, select, confirm."""
