"""A trial from round 0 to its stop, interrupted or not, extended or not: always the same rounds."""

from __future__ import annotations

import json
import logging as python_logging
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import files, folder_of, log_lines, quick, run, take, timeless
from transformers import logging

from fedtune import simulate
from fedtune.errors import BadInput
from fedtune.federated.local import Diverged
from fedtune.trial import simulation
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare
from fedtune.trial.results import read_result
from fedtune.trial.stopping import Target

# Without a store


def test_without_a_store_nothing_is_written(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(Path(bert))
    assert [record["round"] for record in simulate(quick(bert))] == [0, 1, 2, 3]
    assert not list(tmp_path.iterdir())
    assert files(Path(bert)) == before


def test_an_empty_name_is_no_store(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="store=''"):
        next(simulate(quick(bert), ""))
    assert not list(tmp_path.iterdir())


def test_python_without_docstrings_is_told_before_anything_starts(bert: str) -> None:
    program = (
        "import sys; from fedtune import TrialConfig, simulate\n"
        "next(simulate(TrialConfig(model=sys.argv[1], dataset='toy', clients=1)))"
    )
    done = subprocess.run(
        [sys.executable, "-OO", "-c", program, bert], capture_output=True, text=True
    )
    assert done.returncode
    assert "PYTHONOPTIMIZE=2" in done.stderr.splitlines()[-1]


def global_state() -> list[Any]:
    return [
        torch.get_rng_state().tolist(),
        random.getstate(),
        repr(np.random.get_state()),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        python_logging.getLogger().level,
    ]


@pytest.mark.parametrize("stored", [False, True])
def test_the_callers_global_state_is_left_alone(stored: bool, bert: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    torch.set_num_threads(2)  # the trial has one
    try:
        before = global_state()
        for _ in simulate(quick(bert), tmp_path if stored else None):
            assert global_state() == before, "between rounds too, while the caller has the word"
        assert global_state() == before
    finally:
        torch.set_num_threads(1)


def test_the_trial_is_independent_of_the_callers_random_numbers(bert: str) -> None:
    runs = []
    for seed in (1, 2):
        records = []
        for record in simulate(quick(bert)):
            torch.manual_seed(seed)
            torch.rand(3)
            np.random.seed(seed)
            random.seed(seed)
            records.append(timeless(record))
        runs.append(records)
    assert runs[0] == runs[1]


def test_two_trials_that_take_turns_do_not_disturb_each_other(bert: str) -> None:
    configs = [quick(bert), quick(bert, seed=1)]
    together = list(zip(*map(simulate, configs), strict=True))
    for config, records in zip(configs, zip(*together, strict=True), strict=True):
        assert [timeless(record) for record in records] == run(config)


# The rounds of a trial


def test_a_trial_is_the_same_bit_for_bit_every_time(bert: str, tmp_path: Path) -> None:
    config = quick(bert)
    yielded = [run(config), run(config, tmp_path / "a"), run(config, tmp_path / "b")]
    assert yielded[0] == yielded[1] == yielded[2]
    assert log_lines(config, tmp_path / "a") == log_lines(config, tmp_path / "b")
    assert [json.loads(line) for line in log_lines(config, tmp_path / "a")] == yielded[0]
    folders = [files(folder_of(config, tmp_path / s).checkpoint) for s in ("a", "b")]
    assert folders[0]["model.safetensors"] == folders[1]["model.safetensors"]


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": 1},
        {"head_init": "per_client"},
        {"client_optimizer": "adamw", "learning_rate": 1e-3},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"shuffle": "once", "local_epochs": 2},
        {"drop_last": True},
        {"attention_mask": False},
        {"validation_examples": 20, "stop_on": "validation", "target_accuracy": 1.0},
        {"eval_every": 2},
        {"seed": 9, "data_seed": 4},
    ],
    ids=str,
)
def test_a_trial_that_was_cut_off_goes_on_to_the_same_rounds(
    changes: dict[str, Any], bert: str, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert, **changes)
    expected = run(config)
    assert len(take(simulate(config, tmp_path), 2)) == 2
    assert run(config, tmp_path) == expected
    assert [json.loads(line) for line in log_lines(config, tmp_path)] == expected


@pytest.mark.parametrize("name", ["albert", "distilbert"])
def test_other_architectures_go_on_too(
    name: str, tiny: Path, tmp_path: Path, every_round: None
) -> None:
    config = quick(str(tiny / name))
    expected = run(config)
    take(simulate(config, tmp_path), 3)
    assert run(config, tmp_path) == expected


def test_evaluation_is_skipped_between_but_not_at_budget_and_cap(bert: str) -> None:
    records = run(quick(bert, eval_every=10, budget_rounds=2, max_rounds=4))
    assert [r["round"] for r in records if "test/accuracy" in r] == [0, 2, 4]


def test_a_target_of_ones_own_ends_the_trial(bert: str) -> None:
    assert [r["round"] for r in run(quick(bert, target_accuracy=0.01))] == [0, 1]
    study = quick(bert, target_accuracy=0.01, stop="budget-then-target")
    assert [r["round"] for r in run(study)] == [0, 1, 2]
    assert [r["round"] for r in run(quick(bert, clients=1, target_accuracy=0.01))] == [0, 1, 2]


def test_a_target_that_becomes_known_while_the_trial_runs_ends_it(bert: str) -> None:
    known: list[float] = []
    rounds = []
    trial = prepare(quick(bert, max_rounds=5))
    for record in simulation.run_trial(trial, None, lambda: Target(known[0] if known else None)):
        rounds.append(record["round"])
        if record["round"] == 2:
            known.append(0.01)
    assert rounds == [0, 1, 2]


def test_the_model_learns(bert: str) -> None:
    config = quick(
        bert,
        clients=1,
        train_examples="all",
        test_examples="all",
        batch_size=8,
        local_epochs=2,
        budget_rounds=3,
    )
    assert run(config)[-1]["test/accuracy"] > 0.9


# Divergence


def test_a_diverged_round_is_not_logged_and_not_tried_again(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick(bert)
    compute = Federation.round

    def diverge(self: Federation, round_num: int, *asked: Any) -> dict[str, Any]:
        if round_num == 2:
            raise Diverged(2, 1)
        return compute(self, round_num, *asked)

    monkeypatch.setattr(Federation, "round", diverge)
    with pytest.raises(Diverged, match="round 2 at client 1"):
        run(config, tmp_path)
    monkeypatch.undo()
    folder = folder_of(config, tmp_path)
    assert len(folder.records()) == 2
    assert folder.read_json("diverged.json") == {"round": 2, "client_id": 1}
    assert [record["round"] for record in run(config, tmp_path)] == [0, 1]
    result = read_result(tmp_path, prepare(config))
    assert result.ended
    assert result.summary is not None
    assert result.summary.outcome == "diverged"


@pytest.mark.parametrize("rate", [1e15, 1e30])
def test_a_rate_that_is_far_too_high_diverges_with_a_log_that_is_strict_json(
    rate: float, bert: str, tmp_path: Path
) -> None:
    config = quick(bert, learning_rate=rate, local_epochs=1, batch_size=26)
    with pytest.raises(Diverged):
        run(config, tmp_path)
    lines = folder_of(config, tmp_path).rounds_path.read_text().splitlines()
    for line in lines:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    checkpoint = folder_of(config, tmp_path).checkpoint / "state.json"
    assert checkpoint.read_text().splitlines()[-1] == lines[-1]
