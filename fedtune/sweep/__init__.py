"""Which trials, in which order, on which resources."""
