"""What of a dataset one run sees: its noisy labels, its splits, and batches of them."""
