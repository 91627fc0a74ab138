"""Finding recorded runs by what users call them, and bundles of runs for others."""
