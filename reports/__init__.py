"""From recorded runs to tables. Imports neither Ray nor torch."""
