"""What is trained: finding a model's directory and loading it as a classifier."""
