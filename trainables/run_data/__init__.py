"""The data of one run: its noisy labels, its splits, and the loaders of their batches."""
