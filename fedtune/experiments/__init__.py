"""Named sweeps (YAML files) and the code that made the miniature models."""
