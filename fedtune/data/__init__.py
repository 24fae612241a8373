"""What is trained on: texts, tokens, subsets, partitions, batches."""
