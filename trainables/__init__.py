"""Training of single runs: data, methods, backbones, training loop and records of results."""
