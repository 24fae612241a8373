"""One simulation from round 0 to its stop. Needs neither Ray nor MLflow."""
