"""What a trial is: its settled configuration, what it is computed from, and its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedtune.config import FIELDS, LATER, UNHASHED, TrialConfig
from fedtune.trial.stopping import StopRule

#: Part of every trial's identity. Raise it when the same configuration gives other numbers.
ENGINE = 3

#: What every trial has beside its configuration.
NAMED_BY = ("asked_precision", "model_hash", "dataset_hash", "model_dir", "tokens_dir")
#: What some have.
_ALSO = ("groups_hash", "pool_hash", "pool_dir")


@dataclass(frozen=True)
class Trial:
    """A trial that can be run: ``config`` has no ``auto`` left, but for settings of strategies that
    it has not, and its inputs have been found.

    ``model_hash`` and ``dataset_hash`` (SHA-256, hex) stand for the initial weights and
    configuration, and for the tokens and labels used; ``groups_hash`` stands for the groups of the
    examples where the partition is made of them, ``pool_hash`` for the tokens in ``pool_dir`` where
    a data set of its own is distilled on. These are empty elsewhere.
    """

    config: TrialConfig
    asked_precision: str
    model_hash: str
    dataset_hash: str
    model_dir: str
    tokens_dir: str
    groups_hash: str = ""
    pool_hash: str = ""
    pool_dir: str = ""

    @property
    def trial_id(self) -> str:
        """12 hex digits that name the trial; see :data:`fedtune.config.UNHASHED` for what is left
        out.
        """
        return self._identity(self.config)

    @property
    def baseline_id(self) -> str:
        """The ``trial_id`` of centralised training: of this trial without what is about clients."""
        return self._identity(self.config.baseline())

    @property
    def is_baseline(self) -> bool:
        """Is it the trial that others are held against?"""
        return self.config.is_baseline

    def _identity(self, config: TrialConfig) -> str:
        fields: dict[str, Any] = config.model_dump(exclude=set(UNHASHED))
        fields |= {
            "precision": self.asked_precision,
            "model": self.model_hash,
            "dataset": self.dataset_hash,
            "engine": ENGINE,
        }
        if config.partition == "natural":
            fields["groups"] = self.groups_hash
        if config.distill_dataset != "none":
            fields["distill_dataset"] = self.pool_hash
        for field, default in LATER.items():  # so that trials from before keep their names
            if fields[field] == default:
                del fields[field]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def stop_rule(self) -> StopRule:
        config = self.config
        assert isinstance(config.budget_rounds, int)
        assert isinstance(config.max_rounds, int)
        return StopRule(
            is_baseline=self.is_baseline,
            budget=config.budget_rounds,
            cap=config.max_rounds,
            eval_every=config.eval_every,
            stop=config.stop,
            metric=f"{config.stop_on}/accuracy",
        )

    @property
    def own_target(self) -> float | None:
        """The target that the configuration names, if it names one."""
        target = self.config.target_accuracy
        return None if target == "none" else target

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for config.yaml and for crossing process borders; see :meth:`from_dict`."""
        rest = {key: value for key, value in vars(self).items() if key != "config"}
        rest = {key: value for key, value in rest.items() if value or key not in _ALSO}
        return self.config.model_dump() | rest

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """The trial of :meth:`to_dict`. Raises KeyError, TypeError or BadInput for other values."""
        # A field that is younger than the values has its default.
        config = TrialConfig(**{field: values[field] for field in FIELDS if field in values})
        rest = {k: values[k] for k in NAMED_BY} | {k: values.get(k, "") for k in _ALSO}
        if not all(isinstance(value, str) for value in rest.values()):
            raise TypeError(f"allowed are words for {', '.join(rest)}")
        return cls(config=config, **rest)
