"""Watching of sweeps: what runs beside this process, and what a dead process has left."""
