"""A person's own files, by the command: what is said on the screen, and what is trained on."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from support import (
    SHORT,
    Done,
    call,
    folder_of,
    log,
    new_database,
    options,
    trial_configs,
    trial_runs,
)

from fedtune.data import toy

WORDS = ("weather", "cooking")


def run(model: str, dataset: str, folder: Path, *more: str, **settings: Any) -> Done:
    new_database(folder)
    what = {"name": "own", "model": model, "dataset": dataset, "clients": 2, **SHORT, **settings}
    return call("run", *options(**what), "--no-ray", *more, folder=folder)


def reviews(path: Path, separator: str = ",", encoding: str = "utf-8") -> list[tuple[str, str]]:
    """toy's sentences with prose around them, 60 of one class and 40 of the other."""
    rows = [(f'{text}; "so, they say"\nagain', WORDS[label]) for text, label in toy.load()[0]]
    by_class = [[row for row in rows if row[1] == word] for word in WORDS]
    rows = [*by_class[0][:60], *by_class[1][:40]]
    random.Random(0).shuffle(rows)
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator).writerows([("text", "label"), *rows])
    return rows


def described(done: Done) -> str:
    """What the plan says of the data set."""
    assert done.code == 0, done.everything
    return done.out.splitlines()[1].strip()


def test_a_file_is_split_and_trained_on(bert: str, tmp_path: Path) -> None:
    reviews(tmp_path / "my reviews.csv", ";", "utf-16")
    done = run(bert, "my reviews.csv", tmp_path)
    assert described(done) == (
        "my reviews.csv: 80 training and 20 test texts, 2 classes, chance 0.600 (columns text, "
        "label); split here: 20 % for testing, stratified, data_seed 0"
    )
    for values in trial_configs(tmp_path / "trials").values():
        assert (values["test_fraction"], values["data_seed"]) == (0.2, 0)
        assert (values["data/train_examples"], values["data/test_examples"]) == (80, 20)
    labels, _ = np.load(folder_of(tmp_path / "trials", 2) / "round-1" / "predictions.npy")
    assert Counter(labels.tolist()) == {0: 8, 1: 12}, "stratified"
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for found in trial_runs(client, "own").values():
        told = found.data.params
        assert (told["test_fraction"], told["test_split"]) == ("0.2", "test")
        assert told["dataset_config"] == "none"


def test_the_fraction_and_the_seed_are_the_users(bert: str, tmp_path: Path) -> None:
    reviews(tmp_path / "a.csv")
    ids = set()
    for number, more in enumerate(({}, {"test_fraction": 0.35}, {"data_seed": 3})):
        store = ["--store", str(tmp_path / f"{number}"), "--dry-run"]
        line = described(run(bert, "a.csv", tmp_path, *store, **more))
        share, seed = ("35 %" if number == 1 else "20 %"), 3 if number == 2 else 0
        assert line.endswith(f"split here: {share} for testing, stratified, data_seed {seed}")
        ids.add(line)
    assert len(ids) == 3
    asked = run(bert, "a.csv", tmp_path, test_fraction=0.2)
    assert "no effect" not in asked.out
    again = run(bert, "a.csv", tmp_path)
    assert "Every trial has all its rounds already" in again.out, "0.2 is what none stands for"


def test_a_folder_without_a_test_split_is_split_when_asked(bert: str, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    reviews(tmp_path / "texts" / "train.csv", "|")
    refused = run(bert, "texts", tmp_path)
    assert refused.code == 2
    assert "dataset='texts': has no test split; splits found: train (100" in refused.err
    assert "--test-fraction 0.2 draws test examples" in refused.err
    assert len(refused.err.splitlines()) == 1
    done = run(bert, "texts", tmp_path, test_fraction=0.25)
    assert "75 training and 25 test texts" in described(done)


def test_a_fraction_of_a_data_set_with_a_test_split_has_no_effect(
    bert: str, tmp_path: Path
) -> None:
    done = run(bert, "toy", tmp_path, test_fraction=0.25)
    assert "256 training and 128 test texts" in described(done)
    assert "split here" not in done.out
    assert done.out.count("test_fraction=0.25 has no effect on toy: it has a test split") == 1
    without = run(bert, "toy", tmp_path)
    assert "Every trial has all its rounds already" in without.out, "it is one and the same trial"


def test_pairs_are_trained_on_and_named_in_one_option(bert: str, tmp_path: Path) -> None:
    generator = random.Random(0)
    texts = [text for text, _ in toy.load()[0]]
    records = [
        {"premise": generator.choice(texts), "hypothesis": generator.choice(texts), "label": i % 3}
        for i in range(60)
    ]
    (tmp_path / "nli.jsonl").write_text("\n".join(map(json.dumps, records)))
    auto = run(bert, "nli.jsonl", tmp_path)
    assert auto.code == 2
    assert "--text-column premise,hypothesis" in auto.err
    done = run(bert, "nli.jsonl", tmp_path, text_column="premise,hypothesis")
    assert described(done) == (
        "nli.jsonl: 48 training and 12 test pairs of texts, 3 classes, chance 0.333 (columns "
        "premise,hypothesis, label); split here: 20 % for testing, stratified, data_seed 0"
    )
    assert len(trial_configs(tmp_path / "trials")) == 2, "a comma here is no grid"


def test_tokens_carry_all_of_it_and_give_the_same_trial(bert: str, tmp_path: Path) -> None:
    reviews(tmp_path / "a.tsv", "\t")
    made = call(
        *("tokens", "--model", bert, "--dataset", "a.tsv", "--out", "made", "--max-length", "32"),
        folder=tmp_path,
    )
    assert made.code == 0, made.everything
    assert "It has no test split: trials draw 20% of it for testing." in made.out
    from_file, from_tokens = (
        run(bert, dataset, tmp_path, "--store", dataset.replace("a.", "from-"))
        for dataset in ("a.tsv", "made")
    )
    assert described(from_file).partition(":")[2] == described(from_tokens).partition(":")[2]
    for clients in (1, 2):
        folders = [folder_of(tmp_path / store, clients) for store in ("from-tsv", "made")]
        assert folders[0].name == folders[1].name
        assert log(folders[0]) == log(folders[1])


def test_tokens_remember_the_fraction_and_the_split(bert: str, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    reviews(tmp_path / "texts" / "train.csv")
    common = ["tokens", "--model", bert, "--max-length", "32"]
    fraction = ["--dataset", "texts", "--out", "x", "--test-fraction", "0.3"]
    assert "draw 30% of it" in call(*common, *fraction, folder=tmp_path).out
    assert "30 % for testing" in described(run(bert, "x", tmp_path, "--dry-run"))
    refused = call(*common, "--dataset", "texts", "--out", "y", folder=tmp_path)
    assert refused.code == 2
    assert "--test-fraction 0.2 draws" in refused.err
    reviews(tmp_path / "texts" / "validation.csv")
    split = ["--dataset", "texts", "--out", "z", "--test-split", "validation"]
    assert call(*common, *split, folder=tmp_path).code == 0
    line = described(run(bert, "z", tmp_path, "--dry-run"))
    assert line.endswith("(columns text, label); tested on the split validation")
    assert (
        line.partition(":")[2]
        == described(run(bert, "texts", tmp_path, "--dry-run", test_split="validation")).partition(
            ":"
        )[2]
    )
    idle = ["--dataset", "toy", "--out", "t", "--test-fraction", "0.3"]
    assert "test_fraction=0.3 has no effect" in call(*common, *idle, folder=tmp_path).out


def test_a_configuration_is_named_on_the_screen(bert: str, tmp_path: Path) -> None:
    card = ["---", "configs:"]
    for config in ("cola", "sst2"):
        (tmp_path / "glue" / config).mkdir(parents=True)
        reviews(tmp_path / "glue" / config / "train.csv")
        card += [f"- config_name: {config}", f"  data_files: {config}/train.csv"]
    (tmp_path / "glue" / "README.md").write_text("\n".join([*card, "---", ""]))
    refused = run(bert, "glue", tmp_path)
    assert refused.code == 2
    assert "several configurations (cola, sst2); choose one: --dataset-config cola" in refused.err
    wrong = run(bert, "glue", tmp_path, dataset_config="sst")
    assert "dataset_config='sst': glue has no such configuration (did you mean 'sst2'?" in wrong.err
    done = run(bert, "glue", tmp_path, "--dry-run", dataset_config="sst2", test_fraction=0.2)
    assert described(done).startswith("glue (sst2): 80 training and 20 test texts")


def test_classes_that_are_spelt_in_two_ways_are_pointed_at(bert: str, tmp_path: Path) -> None:
    rows = ["text,label", *(f"rain {i},{('pos', 'Pos ', 'neg')[i % 3]}" for i in range(30))]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    done = run(bert, "a.csv", tmp_path, "--dry-run")
    assert "3 classes" in described(done)
    said = "a.csv has classes that differ in spaces or capitals alone: 'Pos ', 'pos'"
    assert done.out.count(said) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "text,label\na,x\nb,y\nc,x\n",
            "there is one example alone of class 'y', and",
        ),
        ("text,label\na,0.5\nb,1\n", "(regression) is not for fedtune"),
        ("text\nhello\n", "has one column ('text'); needed are a text and a label"),
        ("text^label\na, b^1\nc^0\n", "has one column ('text^label'); needed are"),
        ("", "a.csv is empty"),
        ("text,label\nhello, you,1\n", "has 3 fields in line 2"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_line(
    text: str, message: str, bert: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(text)
    done = run(bert, "a.csv", tmp_path)
    assert done.code == 2, done.everything
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "trials").exists()
