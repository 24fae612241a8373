"""Evaluations within the rounds of a baseline, which change nothing in them."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from quick import folder_of, log_lines, quick, run, take, timeless
from transformers import RobertaConfig, RobertaForSequenceClassification

from fedtune import TrialConfig, simulate
from fedtune.federated.evaluation import evaluate
from fedtune.federated.flat import digest
from fedtune.federated.local import Diverged, train
from fedtune.trial import simulation
from fedtune.trial.by_step import StepFile, steps_within
from fedtune.trial.federation import Federation
from fedtune.trial.folder import TrialFolder
from fedtune.trial.prepare import prepare
from fedtune.trial.results import Result, read_result
from fedtune.trial.round_log import DamagedFolder

#: Three rounds of seven steps.
ALONE: dict[str, Any] = {"clients": 1, "budget_rounds": 3, "validation_examples": 8}


def alone(model: str, eval_steps: str | int = "none", **changes: Any) -> TrialConfig:
    return quick(model, **ALONE | changes, eval_steps=eval_steps)


def roberta(tiny: Path, folder: Path) -> Path:
    """A model that transformers' own code computes, with padding."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"intermediate_size": 64, "vocab_size": 512, "max_position_embeddings": 64}
    RobertaForSequenceClassification(RobertaConfig(**shape, **sizes)).save_pretrained(folder)
    for file in (tiny / "bert").glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


def points(config: TrialConfig, store: Path) -> list[dict[str, Any]]:
    """The evaluations in the file, in the order of the file, without times."""
    text = StepFile(folder_of(config, store)).path.read_text()
    return [timeless(json.loads(line)) for line in text.splitlines()]


def result_of(config: TrialConfig, store: Path) -> Result:
    return read_result(store, prepare(config))


def test_the_grid_has_a_constant_factor_and_no_step_twice() -> None:
    grid = np.array(steps_within("geometric", 0, 100_000))
    assert grid[0] == 8
    assert len(set(grid)) == len(grid)
    for doubled in range(10):
        assert 8 * 2**doubled in grid
    factors = grid[1:] / grid[:-1]
    assert factors.max() < 1.31
    assert factors.min() > 1.19


@pytest.mark.parametrize("asked", ["geometric", 7, "3,11,12,500"])
def test_pieces_of_the_grid_are_the_grid(asked: str | int) -> None:
    whole = [*steps_within(asked, 0, 90)]
    cuts = [0, 10, 11, 12, 40, 90]
    pieces = [steps_within(asked, a, b) for a, b in itertools.pairwise(cuts)]
    assert list(itertools.chain(*pieces)) == whole


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_rounds_are_bit_for_bit_those_without(kind: str, tiny: Path, tmp_path: Path) -> None:
    model = str(tiny / kind) if kind != "roberta" else str(roberta(tiny, tmp_path / "model"))
    plain, looked = alone(model), alone(model, 2, momentum=0.5)
    plain = plain.replace(momentum=0.5)
    run(plain, tmp_path / "plain")
    run(looked, tmp_path / "looked")
    assert log_lines(plain, tmp_path / "plain") == log_lines(looked, tmp_path / "looked")
    assert prepare(plain).trial_id == prepare(looked).trial_id
    assert not StepFile(folder_of(plain, tmp_path / "plain")).path.exists()
    found = points(looked, tmp_path / "looked")
    assert [(p["round"], p["step"]) for p in found] == [
        *((1, 2), (1, 4), (1, 6), (2, 8), (2, 10), (2, 12)),  # 14 is a round's end
        *((3, 16), (3, 18), (3, 20)),
    ]


def test_a_point_is_what_training_that_ends_there_gives(bert: str, tmp_path: Path) -> None:
    config = alone(bert, "3,10")
    run(config, tmp_path)
    first, second = points(config, tmp_path)

    federation = Federation(prepare(config))
    flat, recipe = federation.flat, federation.recipe
    data, (examples,) = federation.splits["train"], federation.clients
    flat.values.copy_(federation.server.params)
    for round_num, (count, point) in enumerate([(3, first), (3, second)], start=1):
        if round_num == 2:  # step 10 is the third of the second round
            flat.values.copy_(federation.server.params)
        batches = (examples[some] for some in recipe.batches(len(examples), round_num, 0))
        train(flat, data, itertools.islice(batches, count), recipe, round_num, 0)
        assert digest(flat.values) == point["params_digest"]
        for split in ("test", "validation"):
            expected = evaluate(flat, federation.splits[split])
            assert point[f"{split}/accuracy"] == expected.accuracy
            assert point[f"{split}/loss"] == expected.loss
        if round_num == 1:
            federation.round(1, evaluates=False)


def test_a_round_end_that_is_not_evaluated_is_of_the_grid(bert: str, tmp_path: Path) -> None:
    config = alone(bert, 7, eval_every=3)
    run(config, tmp_path)
    assert [p["step"] for p in points(config, tmp_path)] == [7, 14]  # 21 is the budget's
    merged = result_of(config, tmp_path).by_step
    assert [(p["step"], p["round"]) for p in merged] == [(0, 0), (7, 1), (14, 2), (21, 3)]
    assert all("test/accuracy" in p and "validation/accuracy" in p for p in merged)


def test_with_several_clients_the_grid_is_the_rounds_ends(bert: str, tmp_path: Path) -> None:
    config = quick(bert, eval_steps=1)
    records = run(config, tmp_path)
    assert not StepFile(folder_of(config, tmp_path)).path.exists()
    merged = result_of(config, tmp_path).by_step
    assert [p["step"] for p in merged] == [r["steps/sequential"] for r in records]
    assert [p["test/loss"] for p in merged] == [r["test/loss"] for r in records]
    assert result_of(quick(bert), tmp_path).by_step == []


# Rounds that were run without


def test_they_are_added_to_a_finished_baseline_by_running_it_again(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    plain, looked = alone(bert), alone(bert, 3)
    run(looked, tmp_path / "at once")
    run(plain, tmp_path)
    before = folder_of(plain, tmp_path).rounds_path.read_bytes()
    assert result_of(plain, tmp_path).ended
    owing = result_of(looked, tmp_path)
    assert not owing.ended
    assert owing.owed == 3
    rounds_run.clear()

    run(looked, tmp_path)

    assert rounds_run == [1, 2, 3]
    assert points(looked, tmp_path) == points(looked, tmp_path / "at once")
    assert folder_of(plain, tmp_path).rounds_path.read_bytes() == before
    assert result_of(looked, tmp_path).ended
    run(looked, tmp_path)
    run(alone(bert, "3,6"), tmp_path)  # has them already
    assert rounds_run == [1, 2, 3]
    run(alone(bert, "4,6"), tmp_path)
    assert rounds_run == [1, 2, 3, 1]  # no further than to the last that is missing
    assert [p["step"] for p in result_of(plain, tmp_path).by_step][:4] == [0, 3, 4, 6]


def test_a_longer_budget_goes_on_after_that(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    longer = alone(bert, 5, budget_rounds=4, max_rounds=4)
    whole = run(longer, tmp_path / "whole")
    run(alone(bert), tmp_path)
    rounds_run.clear()
    assert run(longer, tmp_path) == whole
    assert rounds_run == [1, 2, 3, 4]
    assert points(longer, tmp_path) == points(longer, tmp_path / "whole")


def test_it_is_refused_where_the_rounds_give_another_model(bert: str, tmp_path: Path) -> None:
    plain = alone(bert)
    run(plain, tmp_path)
    folder = folder_of(plain, tmp_path)
    # As of a time before logs were sealed, by another machine.
    records = [json.loads(line) for line in folder.rounds_path.read_text().splitlines()]
    for record in records:
        del record["log_digest"]
    records[2]["params_digest"] = "0" * 16
    folder.rounds_path.write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder.checkpoint / "state.json").write_text(json.dumps(records[-1]) + "\n")
    config = (folder.path / "config.yaml").read_text()
    (folder.path / "config.yaml").write_text(config.replace("log_digest: true\n", ""))
    assert run(plain, tmp_path), "it is a whole trial"

    with pytest.raises(DamagedFolder, match=r"round 2 was run again for eval_steps .* set eval_st"):
        run(alone(bert, 3), tmp_path)

    assert [p["round"] for p in points(plain, tmp_path)] == [1, 1], "what agreed is kept"
    assert run(plain, tmp_path), "and nothing else has changed"


def test_which_rounds_ends_were_evaluated_is_read_from_the_log(
    bert: str, tmp_path: Path, rounds_run: list[int]
) -> None:
    run(alone(bert, eval_every=3), tmp_path / "rare")
    run(alone(bert, 7), tmp_path / "rare")  # eval_every is 1 now, and was 3
    assert [p["step"] for p in result_of(alone(bert, 7), tmp_path / "rare").by_step] == [
        0,
        7,
        14,
        21,
    ]
    run(alone(bert), tmp_path / "each")
    rounds_run.clear()
    run(alone(bert, 7, eval_every=3), tmp_path / "each")
    assert not rounds_run, "7 and 14 are there"


def test_rounds_are_run_again_without_a_checkpoint(bert: str, tmp_path: Path) -> None:
    """None goes on from it."""
    run(alone(bert), tmp_path)
    for path in folder_of(alone(bert), tmp_path).path.glob("checkpoint*"):
        shutil.rmtree(path)
    run(alone(bert, 3), tmp_path)
    assert result_of(alone(bert, 3), tmp_path).ended
    with pytest.raises(DamagedFolder, match="has a log but no checkpoint"):
        run(alone(bert, 3, budget_rounds=4, max_rounds=4), tmp_path)


def test_a_trial_that_diverged_is_run_again_up_to_there(
    bert: str, tmp_path: Path, rounds_run: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_round = Federation.round

    def diverges(self: Federation, round_num: int, *how: Any) -> dict[str, Any]:
        if round_num == 3:
            raise Diverged(3, 0)
        return of_round(self, round_num, *how)

    monkeypatch.setattr(Federation, "round", diverges)
    with pytest.raises(Diverged):
        run(alone(bert), tmp_path)
    rounds_run.clear()
    run(alone(bert, 3), tmp_path)
    assert rounds_run == [1, 2]
    result = result_of(alone(bert, 3), tmp_path)
    assert (result.ended, result.diverged) == (True, "round 3, client 0")
    assert [p["step"] for p in result.by_step] == [0, 3, 6, 7, 9, 12, 14]


# Faults


def test_a_trial_that_was_cut_off_has_every_point_once(
    bert: str, tmp_path: Path, every_round: None
) -> None:
    config = alone(bert, 2)
    run(config, tmp_path / "whole")
    take(simulate(config, tmp_path), 2)
    path = StepFile(folder_of(config, tmp_path)).path
    lines = path.read_text().splitlines(keepends=True)
    cut = [json.dumps({"round": 2, "step": 8, "test/accuracy": 0.5}) + "\n", '{"round": 2, "st']
    path.write_text("".join([*lines, *cut]))  # of a round that was not committed
    assert [p["step"] for p in result_of(config, tmp_path).by_step] == [0, 2, 4, 6, 7]

    run(config, tmp_path)

    assert points(config, tmp_path) == points(config, tmp_path / "whole")


def test_points_of_rounds_that_wait_for_their_commit_are_in_no_file(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "checkpoint_pause", lambda took_s: 3600.0)
    added: list[int] = []
    commit = TrialFolder.commit

    def noted(self: TrialFolder, records: Any, save: Any) -> None:
        path = StepFile(self).path
        added.append(len(path.read_text().splitlines()) if path.exists() else 0)
        commit(self, records, save)

    monkeypatch.setattr(TrialFolder, "commit", noted)
    run(alone(bert, 2), tmp_path)
    assert added == [0, 9], "all with the last commit"


@pytest.mark.parametrize(
    "line",
    [
        *("", "3", '{"round": 1}', '{"round": 1, "step": -2}'),
        *(
            f'{{"round": {round_num}, "step": {step}, "test/accuracy": {accuracy}}}'
            for round_num, step, accuracy in (
                *((1, 1, '"x"'), (1, 1, "NaN"), (1, 1, 10**400)),  # no number of a metric
                *((0, 0, 0.5), (1, 8, 0.5), (2, 7, 0.5), (1, 10**40, 0.5)),  # not of that round
            )
        ),
    ],
)
def test_a_file_that_holds_something_else_is_said_and_can_be_removed(
    line: str, bert: str, tmp_path: Path
) -> None:
    config = alone(bert, 3)
    run(config, tmp_path)
    path = StepFile(folder_of(config, tmp_path)).path
    good = path.read_text()
    path.write_text(good + line + "\n")
    for use in (run, result_of):
        with pytest.raises(DamagedFolder, match=r"by_step\.jsonl .* remove it"):
            use(config, tmp_path)
    path.unlink()
    run(config, tmp_path)
    assert [timeless(json.loads(text)) for text in good.splitlines()] == points(config, tmp_path)


def test_a_loss_that_is_not_finite_on_the_way_is_left_out(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, looks = alone(bert, 3), []
    score = Federation._score

    def broken(self: Federation, round_num: int) -> Any:
        for name, result in score(self, round_num):
            looks.append(name)
            if len(looks) == 3:  # 1 and 2 are round 0's
                vars(result)["loss"] = torch.inf
            yield name, result

    monkeypatch.setattr(Federation, "_score", broken)
    run(config, tmp_path)
    first, *rest = points(config, tmp_path)
    assert "test/accuracy" in first
    assert "test/loss" not in first
    assert all("test/loss" in point for point in rest)


def test_without_a_store_it_is_said_that_it_does_nothing(bert: str) -> None:
    with pytest.warns(UserWarning, match="eval_steps has no effect without a store"):
        next(simulate(alone(bert, 3)))
