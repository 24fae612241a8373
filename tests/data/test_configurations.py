"""Configurations of a data set, splits to test on, labels that are hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from fedtune.data.sources import load_texts
from fedtune.errors import BadInput

Write = Callable[..., Path]
Rows = Sequence[tuple[str, Any]]
TRAIN, SEEN, HIDDEN = [("a", 0), ("b", 1)], [("c", 1), ("d", 0)], [("e", -1), ("f", -1)]


def write_split(path: Path, rows: Rows, text: str = "sentence") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [{text: words, "label": label, "idx": i} for i, (words, label) in enumerate(rows)]
    path.write_text("\n".join(map(json.dumps, records)) + "\n")


@pytest.fixture
def glue(tmp_path: Path) -> Path:
    """A folder as the hub has GLUE: configurations in its card, test labels hidden."""
    folder = tmp_path / "glue"
    card = ["---", "configs:"]
    for config, first in (("cola", "x"), ("sst2", "a")):
        card += [f"- config_name: {config}", "  data_files:"]
        for split in ("train", "validation", "test"):
            card += [f"  - split: {split}", f"    path: {config}/{split}-*"]
        write_split(folder / config / "train-00000.jsonl", [(first, 0), ("b", 1)])
        write_split(folder / config / "validation-00000.jsonl", SEEN)
        write_split(folder / config / "test-00000.jsonl", HIDDEN)
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder


@pytest.fixture(params=["folder", "hub"])
def name(request: pytest.FixtureRequest, glue: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """GLUE as a folder, and as something that only the hub has."""
    if request.param == "folder":
        return str(glue)
    build, list_names = datasets.load_dataset_builder, datasets.get_dataset_config_names

    def redirected(path: str, *args: Any, **options: Any) -> Any:
        assert path == "nyu-mll/glue"
        return build(str(glue), *args, **options)

    monkeypatch.setenv("HF_DATASETS_CACHE", str(glue.parent))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", glue.parent / "hub")
    monkeypatch.setattr(datasets, "load_dataset_builder", redirected)
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda _: list_names(str(glue)))
    monkeypatch.setattr("fedtune.data.reading.go_offline_if_unreachable", lambda: True)
    return "nyu-mll/glue"


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        load_texts(*args, **options)
    (fault,) = caught.value.faults
    assert "\n" not in str(fault)
    return str(fault)


def test_a_configuration_is_chosen_by_name(name: str) -> None:
    for config, first in (("sst2", "a"), ("cola", "x")):
        texts = load_texts(name, dataset_config=config, test_split="validation")
        assert texts.test is not None
        assert [*texts.train.texts, *texts.test.texts] == [first, "b", "c", "d"]
        assert texts.test.labels.tolist() == [1, 0]
        assert (texts.text_column, texts.label_column) == ("sentence", "label")


def test_several_configurations_have_to_be_chosen_from(name: str) -> None:
    said = refusal(name)
    assert said.startswith(f"dataset={name!r}: has several configurations (cola, sst2); choose one")
    assert "--dataset-config cola" in said


def test_a_configuration_that_is_not_there_is_refused(name: str) -> None:
    said = refusal(name, dataset_config="sst")
    assert said.startswith("dataset_config='sst': ")
    assert "no such configuration (did you mean 'sst2'?); allowed is cola, sst2" in said


def test_a_data_set_without_configurations(tmp_path: Path, write_json: Write) -> None:
    folder = write_json(tmp_path / "d")
    assert "has no configurations to choose from; leave it out" in refusal(
        str(folder), dataset_config="sst2"
    )
    DatasetDict(train=Dataset.from_dict({"text": ["a"], "label": [1]})).save_to_disk(tmp_path / "s")
    assert "no configurations" in refusal(str(tmp_path / "s"), dataset_config="sst2")


def test_a_card_with_hundreds_of_configurations_is_not_recited(tmp_path: Path) -> None:
    card = ["---", "configs:"]
    for number in range(120):
        card += [f"- config_name: c{number:03d}", "  data_files: train.jsonl"]
    write_split(tmp_path / "train.jsonl", TRAIN)
    (tmp_path / "README.md").write_text("\n".join([*card, "---", ""]))
    assert "c019 and 100 more); choose one" in refusal(str(tmp_path))


def test_hidden_test_labels_lead_to_the_validation_split(name: str) -> None:
    said = refusal(name, dataset_config="sst2")
    assert said.startswith(f"dataset={name!r}: its test split has hidden labels (all -1, or none)")
    assert said.endswith("use the validation split: --test-split validation")


@pytest.mark.parametrize("kind", ["declared", "none", "empty words", "no column"])
def test_labels_are_hidden_in_several_ways(kind: str, tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    train = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    test = Dataset.from_dict({"text": ["c", "d"], "label": [-1, -1]})
    if kind == "declared":
        train, test = train.cast(features), test.cast(features)
    elif kind == "none":
        test = Dataset.from_dict({"text": ["c"], "label": [None]})
    elif kind == "empty words":
        train = Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
        test = Dataset.from_dict({"text": ["c"], "label": [""]})
    else:
        test = test.remove_columns("label")
    DatasetDict(train=train, test=test, dev=train).save_to_disk(tmp_path / "d")
    said = refusal(str(tmp_path / "d"))
    assert ("has no column label" if kind == "no column" else "has hidden labels") in said
    assert said.endswith("use the dev split: --test-split dev")
    found = load_texts(str(tmp_path / "d"), test_split="dev").test
    assert found is not None
    assert found.labels.tolist() == [0, 1]
    assert load_texts(str(tmp_path / "d"), may_lack_test=True).test is None


def test_hidden_labels_without_another_split_lead_to_a_test_fraction(tmp_path: Path) -> None:
    write_split(tmp_path / "d" / "train.jsonl", TRAIN)
    write_split(tmp_path / "d" / "test.jsonl", HIDDEN)
    assert "--test-fraction 0.2 draws test examples" in refusal(str(tmp_path / "d"))
    assert load_texts(str(tmp_path / "d"), may_lack_test=True).test is None


def test_some_labels_that_are_missing_are_no_hidden_ones(tmp_path: Path) -> None:
    write_split(tmp_path / "d" / "train.jsonl", TRAIN)
    write_split(tmp_path / "d" / "test.jsonl", [("a", 1), ("b", -1)])
    said = refusal(str(tmp_path / "d"), may_lack_test=True)
    assert "1 of 2 examples of the test split have a negative label" in said


def test_a_missing_test_split_leads_to_the_one_there_is(tmp_path: Path) -> None:
    """As MNLI has them."""
    data = DatasetDict(
        train=Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}),
        validation_matched=Dataset.from_dict({"text": ["c"], "label": [0]}),
        test_matched=Dataset.from_dict({"text": ["d"], "label": [-1]}),
    )
    data.save_to_disk(tmp_path / "mnli")
    said = refusal(str(tmp_path / "mnli"))
    assert "has no test split; splits found: train (2 examples), validation_matched (1" in said
    assert said.endswith("use the validation_matched split: --test-split validation_matched")
    hidden = refusal(str(tmp_path / "mnli"), test_split="test_matched")
    assert "its test_matched split has hidden labels" in hidden
    assert "--test-split validation_matched" in hidden


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("train", "is what is trained on; name another split"),
        ("validaton", "no such split (did you mean 'validation'?); allowed is validation, test"),
    ],
)
def test_a_split_that_cannot_be_tested_on_is_refused(asked: str, message: str, glue: Path) -> None:
    said = refusal(str(glue), dataset_config="sst2", test_split=asked)
    assert re.match(f"test_split='{asked}': ", said)
    assert message in said
