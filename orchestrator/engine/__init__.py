"""Engines, which carry out runs: on Ray Tune, or in the calling process."""
