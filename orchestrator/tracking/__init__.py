"""Records of sweeps and runs, in the home folder and in MLflow."""
