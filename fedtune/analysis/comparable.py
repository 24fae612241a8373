"""Which of a sweep's trials are compared, and in short what they are of and what varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedtune.analysis.axis import Naming, Settings
from fedtune.analysis.expected import NOTHING_EXPECTED, Expected, Place
from fedtune.analysis.tracked import TrackedTrial
from fedtune.analysis.words import on_one_line
from fedtune.tracking import names


def current(trials: Sequence[TrackedTrial]) -> list[TrackedTrial]:
    """Of trials with the same settings those of the newest engine, model and data: what is trained
    on, the groups that the clients are made of, and the texts that are distilled on.

    A new engine, say, gives every trial and its baseline another id, and what was run before stays
    in MLflow. Comparisons across the two would not be paired.
    """
    newest: dict[tuple[object, ...], str] = {}
    for trial in sorted(trials, key=lambda trial: trial.started_ms):
        newest |= _computed_from(trial)
    return [t for t in trials if all(newest[key] == v for key, v in _computed_from(t).items())]


def _computed_from(trial: TrackedTrial) -> dict[tuple[object, ...], str]:
    """What a trial is computed from, each under the settings that ask for it."""
    own = trial.family, trial.seed
    found: dict[tuple[object, ...], str] = {own: trial.baseline_id}
    for tag, asked in ((names.GROUPS_HASH, "client_column"), (names.POOL_HASH, "distill_dataset")):
        if tag in trial.tags:
            found[*own, asked, trial.params[asked]] = trial.tags[tag]
    return found


def named_apart(
    trials: Sequence[TrackedTrial], expected: Expected = NOTHING_EXPECTED
) -> tuple[list[TrackedTrial], Expected]:
    """Trials and plan with short names for models and data sets, and the variant of each trial."""
    models = _tails({trial.params["model"] for trial in trials} | set(expected.models))
    datasets = _tails({trial.params["dataset"] for trial in trials} | set(expected.datasets))
    planned = expected.settings([trial.params for trial in trials])
    naming = Naming.of([*(trial.settings for trial in trials), *planned], expected.clients)

    def where(settings: Settings) -> Place:
        params = settings.params
        return Place(
            models[params["model"]],
            naming.dataset(datasets[params["dataset"]], settings),
            naming.variant(settings),
            naming.axis.of(settings),
            int(params["seed"]),
            int(params["clients"]),
            settings.is_baseline,
        )

    named = []
    for trial in trials:
        place = where(trial.settings)
        named.append(
            replace(trial, model=place.model, dataset=place.dataset, variant=place.variant)
        )
    return named, expected.renamed(models, datasets).placed(planned, where)


def _tails(full: set[str]) -> dict[str, str]:
    """Each name without its folders or its owner on the hub, where that tells it from the rest."""
    tails = {name: on_one_line(Path(name).name) for name in sorted(full)}
    have = list(tails.values())
    alone = {name: tail for name, tail in tails.items() if tail and have.count(tail) == 1}
    return {name: alone.get(name, on_one_line(name)) for name in tails}
