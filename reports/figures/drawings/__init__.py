"""Drawings of the figures with matplotlib, from the numbers of `reports.figures`."""
