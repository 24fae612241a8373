"""Commands: read one, call one function, print."""
