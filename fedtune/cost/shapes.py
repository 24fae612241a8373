"""What costs go by: the shape of a trial's model, and the lengths of its texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fedtune.data.token_arrays import Split
from fedtune.federated.cohort import cohort_size
from fedtune.federated.distilling import distillation_of
from fedtune.models.configuration import describe
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import splits_of


@dataclass(frozen=True)
class TextCounts:
    """A split as the model sees it: its tokens in all, and how many a text has."""

    number: int
    tokens: int
    mean: float
    deviation: float
    longest: int


def texts_of(trial: Trial) -> dict[str, TextCounts]:
    """Every split that ``trial`` uses, by its name."""
    pad_to = None if trial.config.attention_mask else trial.config.max_length
    return {name: _counted(split, pad_to) for name, split in splits_of(trial).items()}


@lru_cache(maxsize=256)
def _counted(split: Split, pad_to: int | None) -> TextCounts:
    each = np.full(len(split), pad_to) if pad_to else split.lengths
    total, longest = int(each.sum()), int(each.max())
    return TextCounts(len(each), total, float(each.mean()), float(each.std()), longest)


@dataclass(frozen=True)
class ServerTokens:
    """Tokens that a server that distils takes in a round: of its own training, of the texts that it
    asks the clients' models about, and, in a round that is evaluated, of the test set under the
    models on the way to the new one.
    """

    trained: float = 0.0
    asked: float = 0.0
    judged: float = 0.0


def server_tokens(trial: Trial) -> ServerTokens:
    """None where the server of ``trial`` does not distil."""
    config, texts = trial.config, texts_of(trial)
    if not config.distils:
        return ServerTokens()
    how = distillation_of(config, texts["distill"].number)
    cohort = cohort_size(config.num_clients, config.participation)
    return ServerTokens(
        trained=how.num_trained * texts["distill"].mean,
        asked=cohort * how.num_used * texts["distill"].mean,
        judged=(cohort + 1) * texts["test"].tokens,
    )


def shape_of(trial: Trial) -> dict[str, int]:
    """Layers, width and heads; those of the usual model where its configuration does not say."""
    shape = describe(Path(trial.model_dir))
    usual = {"layers": 12, "hidden_size": 768, "heads": 12}
    return {name: shape[name] or number for name, number in usual.items()}
