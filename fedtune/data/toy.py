"""Generated sentences about the weather or about cooking: for tests, and needing no files.

Half of the words of a sentence belong to its class alone, so a model of a few thousand parameters
with random initial weights learns it within some dozens of steps.
"""

from __future__ import annotations

import random

LABEL_NAMES = ("weather", "cooking")
NUM_TRAIN, NUM_TEST = 256, 128

_OWN_WORDS = (
    ("rain", "wind", "snow", "storm", "cloud", "sun", "cold", "sky"),
    ("bread", "soup", "salt", "butter", "oven", "rice", "meat", "sugar"),
)
_SHARED_WORDS = (
    "the", "a", "and", "with", "some", "more", "today", "we", "have", "very", "good", "little",
    "again", "for", "now", "they", "had", "much", "other", "new",
)  # fmt: skip


def load() -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return training and test examples (text, class): balanced, disjoint, always the same."""
    generator = random.Random(2021)
    seen: set[str] = set()
    examples: list[tuple[str, int]] = []
    while len(examples) < NUM_TRAIN + NUM_TEST:
        label = len(examples) % len(LABEL_NAMES)  # alternating, hence balanced in either split
        text = _sentence(generator, label)
        if text not in seen:
            seen.add(text)
            examples.append((text, label))
    return examples[:NUM_TRAIN], examples[NUM_TRAIN:]


def _sentence(generator: random.Random, label: int) -> str:
    half = generator.randint(3, 8)
    words = generator.choices(_OWN_WORDS[label], k=half) + generator.choices(_SHARED_WORDS, k=half)
    generator.shuffle(words)
    return " ".join(words)
