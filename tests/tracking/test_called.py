"""What MLflow's pages call models and data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtune.config import TrialConfig
from fedtune.tracking.called import as_called, called
from fedtune.trial.identity import Trial


def trial(model: str, dataset: str = "toy", model_dir: str = "", pool: str = "none") -> Trial:
    distilling = {"strategy": "feddf", "distill_dataset": pool} if pool != "none" else {}
    config = TrialConfig(model=model, dataset=dataset, clients=2, learning_rate=0.1, **distilling)
    return Trial(config, "auto", "model hash", "data hash", model_dir, "", pool_hash="texts")


def models(*names: str) -> list[str]:
    known = called([trial(name) for name in names])
    return [known["model", name] for name in names]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        (["/home/me/models/foo"], ["foo"]),
        (["./foo", "~/bar/", "../baz"], ["foo", "bar", "baz"]),
        (
            ["mini-bert", "google-bert/bert-base-cased"],
            ["mini-bert", "google-bert/bert-base-cased"],
        ),
        (["/a/foo", "/b/foo"], ["foo (a)", "foo (b)"]),
        (["/a/x/foo", "/b/x/foo", "/b/bar"], ["foo (a-x)", "foo (b-x)", "bar"]),
        (["foo", "/a/foo"], ["foo", "foo (a)"]),
        (["/a/foo", "/a/./foo/"], ["foo", "foo"]),
    ],
)
def test_a_path_is_called_by_what_tells_it_apart(asked: list[str], shown: list[str]) -> None:
    assert models(*asked) == shown


def test_a_model_that_looks_like_a_hub_id_is_a_folder_where_it_was_found_in_one() -> None:
    local = trial("models/bert", model_dir="/home/me/models/bert")
    cached = "/home/me/.cache/huggingface/hub/models--owner--name/snapshots/1a2b"
    hub = trial("owner/name", model_dir=cached)
    known = called([local, hub])
    assert (known["model", "models/bert"], known["model", "owner/name"]) == ("bert", "owner/name")


def test_a_name_is_the_same_from_whichever_folder_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "mine").mkdir(parents=True)
    asked = ["data/mine", "data/mine.csv", "data/of/mine", "./data/mine", "mine.csv"]

    def shown() -> list[str]:
        return [called([trial("m", name)])["dataset", name] for name in asked]

    here = shown()
    monkeypatch.chdir(tmp_path / "data")
    assert shown() == here == ["data/mine", "mine.csv", "mine", "mine", "mine.csv"]


def test_models_and_data_sets_are_named_each_for_themselves() -> None:
    known = called([trial("/a/foo", "/b/foo")])
    assert (known["model", "/a/foo"], known["dataset", "/b/foo"]) == ("foo", "foo")


def test_texts_to_distil_on_are_called_as_a_data_set_is() -> None:
    spelt = [trial("m", pool=name) for name in ("/a/texts.jsonl", "/a/./texts.jsonl", "/b/none")]
    plain = trial("m")
    known = called([*spelt, plain])

    shown = [as_called(each, known) for each in spelt]

    told = [each.config.distill_dataset for each in shown]
    assert told == ["texts.jsonl", "texts.jsonl", "none (b)"]
    assert [each.trial_id for each in shown] == [each.trial_id for each in spelt]
    assert as_called(plain, known) == plain
    alone = as_called(spelt[2], {})
    assert (alone.config.distill_dataset, alone.trial_id) == ("none (b)", spelt[2].trial_id)


def test_a_trial_keeps_its_identity_under_other_names() -> None:
    own = trial("/a/foo", "/b/data")
    shown = as_called(own, called([own, trial("/c/foo")]))
    assert (shown.config.model, shown.config.dataset) == ("foo (a)", "data")
    assert (shown.trial_id, shown.baseline_id) == (own.trial_id, own.baseline_id)
    assert as_called(own, {}).config.model == "foo", "where nothing else is known"
