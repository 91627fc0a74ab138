"""Carrying out a run: network, training loop, checkpoints, and the outcomes of other runs."""
