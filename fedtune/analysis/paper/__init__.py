"""The paper's claims, as checks with thresholds; nothing else knows them."""
