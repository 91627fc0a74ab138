"""Training of a run: network, training loop, checkpoints and outcomes of needed runs."""
