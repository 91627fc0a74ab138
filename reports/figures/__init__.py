"""Figures of a sweep, from the records of its runs."""
