"""Writing down what a sweep does: under the home, and in MLflow."""
