"""Per-sample diagnostics of a run, from which the figures of the NAL paper can be drawn."""
