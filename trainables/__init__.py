"""The training room: what one run does, and a Ray Tune trainable around it."""
