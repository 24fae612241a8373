"""The trials of a launch: grid and baselines, resolved, in the order they start."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fedtune.config import TrialConfig
from fedtune.cost.trial_cost import work
from fedtune.data.lookup import resolve
from fedtune.errors import BadInput, Fault, blaming
from fedtune.models.zoo import find_model
from fedtune.plan.sweepfile import SweepSpec, check_told_apart
from fedtune.tracking import names
from fedtune.tracking.called import as_called, called
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.prepare import prepare_all
from fedtune.trial.simulation import as_begun


@dataclass(frozen=True)
class Plan:
    """``trials`` in the order they start: seed by seed, baselines first, the longest first.

    ``axes`` are the fields that the sweep varies; they name its runs. ``source`` tells of the sweep
    file, where there is one (see :class:`SweepSpec`).
    """

    name: str
    axes: tuple[str, ...]
    trials: tuple[Trial, ...]
    grows: bool = False
    source: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _by_id(self) -> dict[str, Trial]:
        return {trial.trial_id: trial for trial in self.trials}  # each id is a hash to compute

    def by_id(self) -> dict[str, Trial]:
        return self._by_id

    def baseline_of(self, trial: Trial) -> Trial:
        """The baseline that ``trial`` is held against (itself, if it is one)."""
        return self.by_id()[trial.baseline_id]

    def tags(self) -> dict[str, str]:
        """What MLflow is told of the sweep: its trials, begun or not, its grid, its sweep file.

        The grid only where the trials are all combinations of models, data sets, K and seeds, or
        of models, data sets, seeds and points: K with the values of all else that varies.
        """
        told = {names.TRIALS: names.listed(self.by_id())}
        grid = json.dumps(self._grid())
        if grid != "{}" and len(grid) <= names.LONGEST_TAG:
            told[names.PLANNED] = grid
        files = (names.SWEEP_FILE, names.SWEEP_FILE_SHA256, names.SWEEP_FILE_COMMITTED)
        source = {key: self.source.get(key.removeprefix("fedtune.")) for key in files}
        return told | {key: value for key, value in source.items() if value}

    def _grid(self) -> dict[str, Any]:
        """What the trials are all combinations of; nothing where they are not."""
        plain = self._values(("model", "dataset", "clients", "seed"))
        if math.prod(map(len, plain.values())) == len(self.trials):
            return plain
        known = self.called()
        values: dict[tuple[str, str, str], set[str]] = {}
        shared = ("model", "dataset", "seed")
        every = [names.params(as_called(trial, known)) for trial in self.trials]
        for params in every:
            for name in params.keys() - {*shared, "clients"}:
                key = params["model"], params["dataset"], name
                values.setdefault(key, set()).add(params[name])
        varied = sorted({name for (_, _, name), seen in values.items() if len(seen) > 1})
        fields = ["clients", *varied]
        points = list(dict.fromkeys(tuple(params[f] for f in fields) for params in every))
        grid = {axis: plain[axis] for axis in shared}
        if math.prod(map(len, grid.values())) * len(points) != len(self.trials):
            return {}
        points.sort(key=lambda point: (int(point[0]), point[1:]))
        return {**grid, "fields": fields, "points": points}

    def params(self) -> dict[str, str]:
        """What MLflow is told that the sweep spans: the values of each axis, ``1,8,32``."""
        axes = dict.fromkeys(("model", "dataset", "clients", "seed", *self.axes))
        texts = {axis: ",".join(map(str, values)) for axis, values in self._values(axes).items()}
        return {axis: text[: names.LONGEST_PARAM] for axis, text in texts.items()}

    def called(self) -> dict[tuple[str, str], str]:
        """What MLflow's pages call models and data sets."""
        return called(self.trials)

    def _values(self, axes: Iterable[str]) -> dict[str, list[Any]]:
        """The values of each axis as the pages show them, numbers by their size before words."""
        known = self.called()
        configs = [as_called(trial, known).config for trial in self.trials]
        return {
            axis: sorted(
                {config.called(axis) for config in configs} - {""},
                key=lambda v: (isinstance(v, str), v),
            )
            for axis in axes
        }


def make_plan(
    spec: SweepSpec, store: Path | None = None, *, elsewhere: bool = False, progress: bool = False
) -> Plan:
    """Resolve a sweep: check and prepare every trial, and add the baselines that are missing.

    A trial that the ``store`` has begun keeps the device and the threads it was begun with. Where
    trials run ``elsewhere``, on a cluster, GPUs are taken for there. Raises BadInput with every
    fault, each once. Writes nothing but caches.
    """
    configs: dict[TrialConfig, None] = {}
    for config in spec.configs():
        configs[config.baseline()] = None
    for config in spec.configs():
        configs[config] = None
    _check_names(list(configs))
    num_federated = sum(not config.is_baseline for config in configs)
    trials = prepare_all(
        list(configs),
        num_federated=max(num_federated, 1),
        elsewhere=elsewhere,
        progress=progress,
    )
    if store is not None:
        folders = (TrialFolder(store, trial.trial_id) for trial in trials)
        pairs = zip(trials, folders, strict=True)
        trials = [as_begun(trial, folder, elsewhere=elsewhere) for trial, folder in pairs]
    # Two names may be of one model, and `auto` may become what was asked for elsewhere.
    check_told_apart((trial.trial_id, trial.config) for trial in trials)
    unique: dict[str, Trial] = {}
    for trial in trials:
        unique.setdefault(trial.trial_id, trial)
    axes = tuple(name for name, values in spec.axes.items() if len(values) > 1)
    if "strategy" in axes:  # whose names tell the server's optimiser too
        axes = tuple(name for name in axes if name != "server_optimizer")
    return Plan(
        spec.name, axes, tuple(sorted(unique.values(), key=_place)), spec.grows, spec.source
    )


def _place(trial: Trial) -> tuple[float, ...]:
    """Where a trial comes: seed by seed, baselines first, the longest first.

    Seed by seed, so that a study that is cut short has some seeds whole. The longest first, so that
    no long trial is left to run alone at the end; of trials with equal work the largest K, which
    needs the most rounds as a rule.
    """
    config = trial.config
    return config.seed, not trial.is_baseline, -work(trial), -config.num_clients


def _check_names(configs: Sequence[TrialConfig]) -> None:
    """Raise BadInput with every model and data set that is not there, before any is prepared."""
    faults: list[Fault] = []
    for asked, look_up in (
        ("model", find_model),
        ("dataset", resolve),
        ("distill_dataset", resolve),
    ):
        for name in dict.fromkeys(getattr(config, asked) for config in configs):
            if (asked, name) == ("distill_dataset", "none"):
                continue
            try:
                with blaming(asked, name, ("dataset",)):
                    look_up(name)
            except BadInput as bad:
                faults += bad.faults
    if faults:
        raise BadInput(faults)
