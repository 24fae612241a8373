"""Trials that distil: on which texts, for how long, and what they tell of the way there."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quick import QUICK, quick, run, take, timeless

from fedtune import TrialConfig, simulate
from fedtune.cost.memory import need
from fedtune.cost.speed import Rates, kind_of, rates_in_store
from fedtune.cost.trial_cost import cost, work
from fedtune.data import toy
from fedtune.data.tokenization import write_tokens
from fedtune.errors import BadInput
from fedtune.models.zoo import find_model
from fedtune.trial.federation import Federation
from fedtune.trial.identity import Trial
from fedtune.trial.inputs import check_unchanged, open_examples, open_pool, splits_of
from fedtune.trial.prepare import prepare

ASIDE: dict[str, Any] = {"distill_examples": 12}
BOTH = ("feddf", "one-shot")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of texts and nothing else, a line each."""
    path = tmp_path_factory.mktemp("pool") / "texts.jsonl"
    rows = [json.dumps({"text": text}) for text, _ in toy.load()[1][:21]]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_what_is_auto_is_three_passes_at_the_clients_rate(bert: str) -> None:
    settled = prepare(quick(bert, strategy="feddf", **ASIDE)).config
    assert (settled.distill_steps, settled.distill_learning_rate) == (9, 0.05)
    assert settled.one_shot_epochs == "auto"
    assert prepare(quick(bert, strategy="one-shot", **ASIDE)).config.distill_steps == 2 * 9
    assert (settled.budget_rounds, settled.max_rounds) == (2, 3)


def test_one_shot_is_one_round_in_which_clients_train_as_long_as_others_do(bert: str) -> None:
    asked = quick(bert, strategy="one-shot", local_epochs=2, **ASIDE)
    trial = prepare(asked)
    assert (trial.config.budget_rounds, trial.config.max_rounds) == (1, 1)
    assert trial.config.one_shot_epochs == 4, "2 epochs in each of 2 rounds"
    assert prepare(asked.baseline()).config.budget_rounds == 2
    records = run(asked)
    assert [record["round"] for record in records] == [0, 1]
    assert records[1]["steps/sequential"] == 4 * 3, "9 examples in batches of 4"
    longer = asked.replace(max_rounds=9)
    assert prepare(longer).trial_id == trial.trial_id
    assert prepare(asked.replace(budget_rounds=3)).config.one_shot_epochs == 6
    own = prepare(asked.replace(one_shot_epochs=4))
    assert own.trial_id == trial.trial_id


@pytest.mark.parametrize("strategy", BOTH)
def test_what_was_settled_is_settled(strategy: str, bert: str, texts: Path) -> None:
    """A worker without the tokens prepares a trial anew from its settings."""
    asked = quick(bert, strategy=strategy, distill_dataset=str(texts), precision="fp32")
    trial = prepare(asked)
    assert prepare(trial.config).trial_id == trial.trial_id
    assert Trial.from_dict(trial.to_dict()) == trial


def test_texts_are_set_aside_for_every_trial_of_a_comparison(bert: str) -> None:
    asked = [quick(bert, strategy=name, **ASIDE) for name in ("fedavg", *BOTH)]
    trials = [prepare(config) for config in asked]
    trials.append(prepare(asked[1].baseline()))
    assert {trial.baseline_id for trial in trials} == {trials[-1].trial_id}
    pools = [open_pool(trial) for trial in trials]
    assert [pool is None for pool in pools] == [True, False, False, True]
    for trial in trials:
        examples = open_examples(trial)[1]
        assert examples.distill is not None
        assert (len(examples.train), len(examples.distill)) == (26, 12)
        assert ("distill" in splits_of(trial)) == trial.config.distils
    assert prepare(asked[0].replace(distill_examples=0)).baseline_id != trials[0].baseline_id


def test_texts_to_distil_on_are_no_clients(bert: str) -> None:
    whole = {**QUICK, "train_examples": "all", "clients": 4}
    trial = prepare(TrialConfig(model=bert, strategy="feddf", distill_examples=56, **whole))
    made = Federation(trial)
    assert sum(client["num_examples"] for client in made.partition["clients"]) == 200
    assert len(made.splits["distill"]) == 56
    assert "distill" not in Federation(prepare(trial.config.baseline())).splits


def test_another_data_set_may_be_distilled_on(bert: str, texts: Path) -> None:
    plain = prepare(quick(bert))
    trial = prepare(quick(bert, strategy="feddf", distill_dataset=str(texts)))
    pool = open_pool(trial)
    assert pool is not None
    assert len(pool) == 21
    assert trial.config.distill_steps == 3 * 6
    assert trial.baseline_id == plain.baseline_id, "nothing is set aside"
    assert trial.dataset_hash == plain.dataset_hash
    records = run(quick(bert, strategy="feddf", distill_dataset=str(texts)))
    assert "stages/ensemble" in records[-1]
    assert run(quick(bert))[0] | {"log_digest": ""} == records[0] | {"log_digest": ""}


def test_labels_of_that_data_set_do_not_matter(bert: str, texts: Path, tmp_path: Path) -> None:
    """Absent, of other classes, or partly missing: the texts are the same, and so is the trial."""
    said = [json.loads(line)["text"] for line in texts.read_text().splitlines()]
    others = tmp_path / "others.csv"
    with others.open("w", newline="") as file:
        rows = [(text, "" if number % 3 else f"class {number}") for number, text in enumerate(said)]
        csv.writer(file).writerows([("text", "label"), *rows])
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(texts.read_bytes())
    (folder / "test.jsonl").write_text(json.dumps({"text": "of no interest"}) + "\n")
    found = {
        prepare(quick(bert, strategy="feddf", distill_dataset=str(path))).trial_id
        for path in (texts, others, folder)
    }
    assert len(found) == 1
    texts_but_one = tmp_path / "fewer.jsonl"
    texts_but_one.write_text("\n".join(texts.read_text().splitlines()[1:]))
    other = prepare(quick(bert, strategy="feddf", distill_dataset=str(texts_but_one)))
    assert other.trial_id not in found


def test_tokens_serve_as_well(bert: str, tmp_path: Path) -> None:
    folder = find_model(bert).directory
    made = write_tokens("toy", folder, tmp_path / "tokens", max_length=32)
    csv_file = tmp_path / "own.csv"
    rows = "\n".join(f"{text},{label}" for text, label in toy.load()[0][:64])
    csv_file.write_text(f"text,label\n{rows}\n")
    own = {"dataset": str(csv_file), "strategy": "feddf", "test_examples": 8}
    trial = prepare(quick(bert, **own, distill_dataset=str(made)))
    assert trial.pool_dir == str(made.resolve())
    named = prepare(quick(bert, **own, distill_dataset="toy"))
    assert trial.trial_id == named.trial_id, "the same texts"
    with pytest.raises(BadInput, match=r"max_length=31: the tokens in .* were cut to 32"):
        prepare(quick(bert, **own, distill_dataset=str(made), max_length=31))
    with pytest.raises(BadInput, match="holds texts without labels"):
        prepare(quick(bert, dataset=named.pool_dir))


def test_what_is_trained_on_is_known_by_its_texts(bert: str, tmp_path: Path) -> None:
    """A copy of a file holds those too that are tested on."""
    for name in ("a.csv", "b.csv"):
        rows = "\n".join(f"{text},{label}" for text, label in toy.load()[0][:64])
        (tmp_path / name).write_text(f"text,label\n{rows}\n")
    one, two = (str(tmp_path / name) for name in ("a.csv", "b.csv"))
    made = write_tokens("toy", find_model(bert).directory, tmp_path / "tokens", max_length=32)
    own = {"strategy": "feddf", "test_examples": 8}
    for dataset, pool in ((one, two), ("toy", str(made)), (str(made), "toy")):
        with pytest.raises(BadInput, match=r"distill_dataset=.* is what is trained on"):
            prepare(quick(bert, **own, dataset=dataset, distill_dataset=pool))


def test_texts_that_have_changed_since_are_refused(bert: str, texts: Path) -> None:
    trial = prepare(quick(bert, strategy="feddf", distill_dataset=str(texts)))
    check_unchanged(trial)
    with pytest.raises(BadInput, match=r"distill_dataset=.*has changed since"):
        check_unchanged(replace(trial, pool_hash="0" * 64))


@pytest.mark.parametrize("strategy", BOTH)
def test_a_trial_on_another_data_set_goes_on_to_the_same_rounds(
    strategy: str, bert: str, texts: Path, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert, strategy=strategy, distill_dataset=str(texts), participation=0.7)
    expected = run(config)
    take(simulate(config, tmp_path), len(expected) - 1)
    assert run(config, tmp_path) == expected


def test_stages_are_told_where_a_round_is_evaluated(bert: str) -> None:
    config = quick(bert, strategy="feddf", eval_every=2, max_rounds=3, budget_rounds=3, **ASIDE)
    told = {
        record["round"]: sorted(key for key in record if key.startswith("stages/"))
        for record in run(config)
    }
    stages = [f"stages/{s}" for s in ("client_mean", "distilled", "ensemble", "parameter_mean")]
    assert told == {0: [], 1: [], 2: stages, 3: stages}
    assert all(r["stages/distilled"] == r["test/accuracy"] for r in run(config)[2:])
    sparse, dense = run(config)[-1], run(config.replace(eval_every=1))[-1]
    assert sparse["params_digest"] == dense["params_digest"], "looking changes nothing"


def test_one_client_without_dropout_is_federated_averaging(without_dropout: Path) -> None:
    model = str(without_dropout / "bert")
    alone = {"clients": 1, "max_rounds": 2, **ASIDE}
    plain, taught = run(quick(model, **alone)), run(quick(model, strategy="feddf", **alone))
    for one, other in zip(plain, taught, strict=True):
        assert other["test/loss"] == pytest.approx(one["test/loss"], abs=1e-4)
    assert taught[-1]["comm/bytes"] > 0, "it is a federated trial"


def test_what_the_server_does_is_in_the_estimate(bert: str) -> None:
    trials = {
        name: prepare(quick(bert, strategy=name, max_rounds=2, **ASIDE))
        for name in ("fedavg", *BOTH)
    }
    plain, feddf, _ = trials.values()
    rates = {kind_of(plain): Rates(train=10.0, evaluate=100.0, num_parameters=1000)}
    assert {kind_of(trial) for trial in trials.values()} == {*rates}
    found = {name: cost(trial, rates) for name, trial in trials.items()}
    means = {name: float(split.lengths.mean()) for name, split in splits_of(feddf).items()}
    scale = means["distill"] / means["train"], means["distill"] / means["test"]
    server = 3 * 12 * scale[0] / 10 + 3 * 12 * scale[1] / 100 + 4 * 16 / 100
    assert found["feddf"].seconds - found["fedavg"].seconds == pytest.approx(2 * server)
    looks, more = found["fedavg"].seconds - 2 * 26 / 10, 3 * 12 * scale[0] / 10
    once = looks * 2 / 3 + 2 * 26 / 10 + server + more
    assert found["one-shot"].seconds == pytest.approx(once)
    assert (found["one-shot"].rounds, found["one-shot"].steps) == (1, 2 * 3)
    assert found["feddf"].traffic_bytes == found["fedavg"].traffic_bytes
    assert work(feddf) > work(plain)
    assert need(feddf).memory > need(plain).memory


def test_rounds_that_distil_do_not_tell_how_fast_others_are(
    bert: str, tmp_path: Path, every_round: None
) -> None:
    config = quick(bert, strategy="feddf", **ASIDE)
    records = list(simulate(config, tmp_path))
    assert rates_in_store(tmp_path, [prepare(config)]) == {}
    assert [timeless(record) for record in records] == run(config)


@pytest.mark.parametrize("strategy", BOTH)
def test_padding_and_the_other_architectures(strategy: str, tiny: Path) -> None:
    for name in ("albert", "distilbert"):
        config = quick(
            str(tiny / name), strategy=strategy, attention_mask=False, max_rounds=2, **ASIDE
        )
        records = run(config)
        assert records == run(config)
        assert records[-1]["test/loss"] != records[0]["test/loss"]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"distill_dataset": "toy"}, "distill_dataset", "what is trained on; set some of it aside"),
        ({"distill_examples": 256}, "distill_examples", "less than the 256 examples"),
        ({"distill_examples": 240}, "train_examples", "at most 16: .*240 for distillation"),
        ({"distill_dataset": "/no/such/folder"}, "distill_dataset", "there is no such folder"),
        ({"distill_dataset": "imbd"}, "distill_dataset", "did you mean 'imdb'"),
    ],
)
def test_texts_that_cannot_be_distilled_on_are_refused(
    changes: dict[str, Any], field: str, words: str, bert: str
) -> None:
    with pytest.raises(BadInput, match=words) as bad:
        prepare(quick(bert, strategy="feddf", **changes))
    assert [fault.field for fault in bad.value.faults] == [field]


@pytest.mark.parametrize("rows", ['"a film, good"', "a film, good\nso bad", "good"])
def test_texts_may_be_the_only_column_of_a_csv_file(rows: str, bert: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"text\n{rows}\n")
    trial = prepare(quick(bert, strategy="feddf", distill_dataset=str(tmp_path / "a.csv")))
    assert len(open_pool(trial) or ()) == len(rows.splitlines())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "title,lines\na,b\nc,d\n", "could be any of title, lines; call the column"),
        (
            "a.jsonl",
            '{"number": 1}\n',
            "is none of its columns; call the column of the texts 'text'",
        ),
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n', "1 of 2 examples have no text"),
        ("a.csv", "text,label\n", "no rows|no train split"),
    ],
)
def test_a_file_whose_texts_cannot_be_found_is_refused(
    name: str, content: str, words: str, bert: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(BadInput, match=words) as bad:
        prepare(quick(bert, strategy="feddf", distill_dataset=str(path)))
    assert [fault.field for fault in bad.value.faults] == ["distill_dataset"]
    assert "--text-column" not in str(bad.value)
