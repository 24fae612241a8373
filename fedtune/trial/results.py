"""What the store says about trials: read-only views of their folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtune.trial.begun import ORIGIN
from fedtune.trial.by_step import StepFile, merged, owed
from fedtune.trial.folder import TrialFolder
from fedtune.trial.identity import Trial
from fedtune.trial.stopping import (
    Baseline,
    Record,
    Summary,
    Target,
    choose_target,
    read_baseline,
    summarize,
)


@dataclass(frozen=True)
class Result:
    """A trial's committed rounds and what they amount to.

    ``facts`` are tracked once (see ``data_facts``); ``diverged`` says in which round and where;
    ``origin`` tells when it was begun (``begun_ms``, Unix time), by which code and on what;
    ``predictions`` is the file with the test predictions at the budget, ``samples`` that with the
    samples of its process (see ``system.py``), where there is one; ``partition`` the file with what
    each client has, where clients differ. ``by_step`` are the evaluations by sequential step (see
    :func:`fedtune.trial.by_step.merged`), ``owed`` the last round that has to be run again for
    some; a trial that owes any has not ended.
    """

    trial: Trial
    records: list[Record]
    facts: dict[str, Any]
    summary: Summary | None  # None before round 0 is committed
    diverged: str | None
    ended: bool
    origin: dict[str, Any]
    peak_memory_mb: float | None
    predictions: Path | None
    samples: Path | None = None
    partition: Path | None = None
    by_step: Sequence[Record] = ()
    owed: int = 0

    def summary_metrics(self) -> dict[str, float]:
        """What is tracked once at the trial's end, under its tracked names; empty before that."""
        if self.summary is None or not self.ended:
            return {}
        peak = self.peak_memory_mb
        return self.summary.metrics() | ({"summary/peak_memory_mb": peak} if peak else {})


def stored_trial(store: Path, trial_id: str) -> Trial | None:
    """The trial of a folder of the store, as its last launch had it; None without one."""
    values = TrialFolder(store, trial_id).read_config()
    return Trial.from_dict(values) if values else None


def read_result(store: Path, trial: Trial, baseline: Trial | None = None) -> Result:
    """Read ``trial`` from the store and hold it against its baseline (default: the store's)."""
    folder = TrialFolder(store, trial.trial_id)
    config = folder.read_config()
    facts = {key: value for key, value in config.items() if "/" in key}
    records = list(trial.stop_rule.read(folder.records()))
    against = baseline_result(store, trial, baseline)
    target = choose_target(trial.own_target, against, trial.config.target_fraction)
    ended = trial.stop_rule.ended(records, target)
    diverged = None if ended else divergence(folder, trial)
    summary = None
    if records and "summary/chance" in facts:
        summary = summarize(
            records,
            trial.stop_rule,
            facts,
            baseline=against,
            own_target=trial.own_target,
            fraction=trial.config.target_fraction,
            diverged=diverged is not None,
        )
    points = StepFile(folder).read(records)
    missing = owed(trial, records, points)
    ended = (ended or diverged is not None) and not missing
    predictions = folder.file(folder.predictions_path(trial.stop_rule.budget))
    partition = folder.partition_file(trial.config.num_clients)
    return Result(
        trial,
        records,
        facts,
        summary,
        diverged,
        ended,
        origin={key: config[key] for key in ORIGIN if key in config},
        peak_memory_mb=folder.read_peak_memory(),
        predictions=predictions,
        samples=folder.file(folder.samples),
        partition=None if trial.config.partition == "iid" else partition,
        by_step=merged(trial, records, points),
        owed=max(missing, default=0),
    )


def divergence(folder: TrialFolder, trial: Trial) -> str | None:
    """Where the trial diverged (``round 3, client 5``), unless that is beyond its last round."""
    place = folder.read_divergence()
    if place is None or place[0] > trial.stop_rule.last:
        return None
    round_num, client_id = place
    return f"round {round_num}, " + (
        "the server's model" if client_id is None else f"client {client_id}"
    )


def target_of(store: Path, trial: Trial) -> Target:
    """What the trial has to reach, as far as the store knows."""
    if trial.is_baseline:
        return Target(trial.own_target)
    baseline = baseline_result(store, trial)
    return choose_target(trial.own_target, baseline, trial.config.target_fraction)


def baseline_result(store: Path, trial: Trial, baseline: Trial | None = None) -> Baseline | None:
    """What the baseline of ``trial`` (itself, for K = 1) achieved; None before its end."""
    baseline = baseline or (trial if trial.is_baseline else None)
    folder = TrialFolder(store, trial.baseline_id)
    facts = folder.read_config()
    if baseline is None:
        # The sibling's own budget counts, not that of the baseline's last launch.
        baseline = Trial.from_dict(facts | _lengths(trial)) if facts else None
    if baseline is None or "summary/chance" not in facts:
        return None
    return read_baseline(folder.records(), baseline.stop_rule, facts)


def _lengths(trial: Trial) -> dict[str, Any]:
    names = ["eval_every", "stop", "stop_on", "target_fraction"]
    if not trial.config.is_one_shot:  # whose own length is one round
        names += ["budget_rounds", "max_rounds"]
    return {name: getattr(trial.config, name) for name in names}
