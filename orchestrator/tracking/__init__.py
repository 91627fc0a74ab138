"""Records of a sweep under the home and in MLflow."""
