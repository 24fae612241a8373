"""A launch: Ray Tune or this process, progress, the closing table."""
