"""Per-sample diagnostics of a training, from which the paper's figures are drawn."""
