"""What costs go by: the shape of a trial's model, and the lengths of its texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedtune.data.splits import Examples
from fedtune.data.token_arrays import Split
from fedtune.models.configuration import describe
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import open_examples


@dataclass(frozen=True)
class TextCounts:
    """A split as the model sees it: its tokens in all, and how many a text has."""

    number: int
    tokens: int
    mean: float
    deviation: float
    longest: int


def texts_of(trial: Trial) -> dict[str, TextCounts]:
    _, examples = open_examples(trial)
    pad_to = None if trial.config.attention_mask else trial.config.max_length
    return _counted(examples, pad_to)


@lru_cache(maxsize=256)
def _counted(examples: Examples, pad_to: int | None) -> dict[str, TextCounts]:
    found = {}
    for name, split in vars(examples).items():
        if isinstance(split, Split):
            each = np.full(len(split), pad_to) if pad_to else split.lengths
            total, longest = int(each.sum()), int(each.max())
            found[name] = TextCounts(
                len(each), total, float(each.mean()), float(each.std()), longest
            )
    return found


def shape_of(trial: Trial) -> dict[str, int]:
    """Layers, width and heads; those of the usual model where its configuration does not say."""
    shape = describe(Path(trial.model_dir))
    usual = {"layers": 12, "hidden_size": 768, "heads": 12}
    return {name: shape[name] or number for name, number in usual.items()}
