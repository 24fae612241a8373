"""The algorithm: local training, averaging, evaluation. Needs PyTorch and nothing else."""
