"""Engines, which carry out the runs of a work: on Ray Tune, or in the calling process."""
