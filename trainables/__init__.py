"""Training of a single run, and the Ray Tune trainable that wraps it."""
