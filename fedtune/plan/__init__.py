"""From a sweep file or options to trials."""
