"""Per-sample diagnostics of a training, from which the figures of the NAL paper can be drawn."""
