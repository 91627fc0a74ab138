"""Drawings of the figures with matplotlib; the numbers come from the modules of `reports.figures`."""
