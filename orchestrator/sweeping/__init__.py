"""State machine of a sweep, which plans runs in the phases search, select and confirm."""
