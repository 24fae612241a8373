"""Where models come from, what makes one itself, and what is never taken."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from fedtune.errors import BadInput
from fedtune.models import zoo
from fedtune.models.zoo import PAPER_LEARNING_RATE, content_hash, find_model


@pytest.fixture
def directory(bert: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "model"))


def test_a_directory_is_found_as_it_is(directory: Path) -> None:
    source = find_model(str(directory))
    assert (source.directory, source.learning_rate) == (directory, PAPER_LEARNING_RATE)


def test_a_relative_directory_and_one_in_the_home_are_found(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory.parent)
    assert find_model("./model").directory.samefile(directory)
    monkeypatch.setenv("HOME", str(directory.parent))
    assert find_model("~/model").directory.samefile(directory)


@pytest.mark.parametrize("name", ["bert", "google-bert/bert-base-cased", "mini-bert"])
def test_a_folder_of_that_name_among_the_data_comes_first(
    name: str, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bert, tmp_path / name)
    monkeypatch.setenv("FEDTUNE_DATA", str(tmp_path))
    assert find_model(name).directory == tmp_path / name


def test_weights_that_are_only_a_pickle_are_refused_naming_safetensors(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({}, directory / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"^model=.*no safetensors weights.*save_pretrained"):
        find_model(str(directory))


@pytest.mark.parametrize(
    ("file", "words"),
    [("config.json", "no config.json"), ("tokenizer", "no tokenizer files")],
)
def test_a_directory_that_lacks_something_is_refused_by_name(
    file: str, words: str, directory: Path
) -> None:
    for path in directory.glob(f"{file}*"):
        path.unlink()
    with pytest.raises(BadInput, match=words):
        find_model(str(directory))


def test_a_configuration_that_is_no_json_is_refused(directory: Path) -> None:
    (directory / "config.json").write_text("{")
    with pytest.raises(BadInput, match="not valid JSON"):
        find_model(str(directory))


@pytest.mark.parametrize("name", ["mini-brt", "no-such-model", "./missing", "/missing/model"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(BadInput, match=r"no such model.*allowed is one of mini-bert") as bad:
        find_model(name)
    assert ("did you mean 'mini-bert'" in str(bad.value)) is (name == "mini-brt")


def test_a_hub_id_that_cannot_be_had_offline_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtune.hub.go_offline_if_unreachable", lambda: False)
    monkeypatch.setattr(zoo, "_cached", lambda hub_id: None)
    with pytest.raises(BadInput, match=r"hub cannot be reached.*FEDTUNE_DATA/some/model"):
        find_model("some/model")


def card(front: str) -> str:
    return f"---\n{front}\n---\n# A model\n"


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        (card("license: mit\nfedtune:\n  learning_rate: 0.05"), 0.05),
        (card("fedtune: {learning_rate: 1}"), 1.0),
        (card("license: mit"), PAPER_LEARNING_RATE),
        (card("fedtune: fine"), PAPER_LEARNING_RATE),
        (card("fedtune:\n  other: 1"), PAPER_LEARNING_RATE),
        (card("- a\n- list"), PAPER_LEARNING_RATE),
        (card("broken: [yaml"), PAPER_LEARNING_RATE),
        ("# fedtune\n\n---\nfedtune: {learning_rate: 9}\n---\n", PAPER_LEARNING_RATE),
        ("", PAPER_LEARNING_RATE),
    ],
)
def test_the_rate_is_the_cards_or_the_papers(text: str, rate: float, directory: Path) -> None:
    (directory / "README.md").write_text(text)
    made = find_model(str(directory)).learning_rate
    assert made == rate
    assert type(made) is float


def test_a_model_is_its_weights_and_configuration_wherever_it_lies(
    directory: Path, tmp_path: Path
) -> None:
    first = content_hash(directory)
    moved = Path(shutil.copytree(directory, tmp_path / "elsewhere" / "other name"))
    (moved / "README.md").write_text("a card")
    os.utime(moved / "model.safetensors", (1, 1))
    assert content_hash(moved) == first


def test_another_weight_or_setting_is_another_model(directory: Path) -> None:
    hashes = {content_hash(directory)}
    weights = directory / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))  # of the same size
    hashes.add(content_hash(directory))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.3}))
    hashes.add(content_hash(directory))
    assert len(hashes) == 3
