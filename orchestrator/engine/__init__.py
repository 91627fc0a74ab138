"""What carries out the runs of a work: Ray Tune, or this process."""
