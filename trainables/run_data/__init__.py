"""The data of one run: its noisy labels, its splits and their batches."""
