"""Ray: the one place that starts it, and hands it runs."""
