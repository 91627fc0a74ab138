"""Comparison tables, rankings of suspect samples and contact sheets, made from recorded runs."""
