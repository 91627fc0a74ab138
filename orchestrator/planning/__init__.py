"""Plans of sweeps: their runs and their cost, before anything is trained."""
