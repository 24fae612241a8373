"""How the miniature models were made: texts, vocabulary, teacher's embeddings, training, cards."""
