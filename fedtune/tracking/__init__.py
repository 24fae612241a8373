"""Names of everything tracked, and the projection of round logs into MLflow."""
