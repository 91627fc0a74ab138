"""Command line, planning of sweeps, engines that carry out runs, and writing to MLflow."""
