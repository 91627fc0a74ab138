"""Training of a run: network, training loop, checkpoints, and inputs from earlier runs."""
