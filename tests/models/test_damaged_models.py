"""Models by strangers: whatever is wrong with their files is one line and exit code 2, at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import call, options

from fedtune.errors import BadInput
from fedtune.models.configuration import read_config
from fedtune.models.zoo import PAPER_LEARNING_RATE, card_learning_rate

#: Settings of config.json that no model has; none may be met by building it.
ODD: dict[str, dict[str, Any]] = {
    "a thousand million classes": {"num_labels": 10**9},
    "a negative number of classes": {"num_labels": -1},
    "classes in words": {"num_labels": "two"},
    "a million layers": {"num_hidden_layers": 10**6},
    "layers without end": {"num_hidden_layers": 10**30},
    "no layers": {"num_hidden_layers": 0},
    "layers in words": {"num_hidden_layers": "many"},
    "layers inside": {"text_config": {"num_hidden_layers": 10**9}},
    "a width that fills the memory": {"hidden_size": 10**9},
    "a width between the lines": {"hidden_size": 3.5},
    "a vocabulary that fills the memory": {"vocab_size": 10**9},
    "positions that fill the memory": {"max_position_embeddings": 10**9},
    "types that fill the memory": {"type_vocab_size": 10**12},
    "an inner width that fills the memory": {"intermediate_size": 10**7},
    "an inner width without end": {"intermediate_size": 10**30},
    "an inner width below 0": {"intermediate_size": -4},
    "nothing where a number belongs": {"hidden_size": None},
    "a list where a number belongs": {"num_attention_heads": [2]},
    "heads that do not divide the width": {"num_attention_heads": 7},
    "an unknown activation": {"hidden_act": "nonsense"},
    "dropout above 1": {"hidden_dropout_prob": 7},
    "dropout of everything": {"hidden_dropout_prob": 1.0},
    "no number": {"layer_norm_eps": float("nan")},
    "dropout below 0": {"attention_probs_dropout_prob": -0.5},
    "dropout in words": {"hidden_dropout_prob": "much"},
    "a type that is a list": {"model_type": ["bert"]},
    "no type": {"model_type": None},
    "an unknown dtype": {"dtype": "nonsense"},
    "what nothing can be saved with": {"validate": 5},
    "code that is not there": {"_auto_class": "X"},
}
#: Whole files, by name: what they hold instead.
FILES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a list": ("config.json", lambda _: b"[]"),
    "null": ("config.json", lambda _: b"null"),
    "empty": ("config.json", lambda _: b""),
    "UTF-16": ("config.json", lambda text: text.decode().encode("utf-16")),
    "too deep": ("config.json", lambda _: b'{"a":' * 100_000),
    "a header cut short": ("model.safetensors", lambda data: data[:40]),
    "weights cut short": ("model.safetensors", lambda data: data[:-10]),
    "empty weights": ("model.safetensors", lambda _: b""),
    "other bytes": ("model.safetensors", lambda _: b"x" * 1000),
    "a header of exabytes": ("model.safetensors", lambda d: (2**62).to_bytes(8, "little") + d[8:]),
    "a header that is no JSON": ("model.safetensors", lambda data: data[:8] + b"[" + data[9:]),
    "an unknown type": ("model.safetensors", lambda data: data.replace(b'"F32"', b'"F99"', 1)),
    "a tokenizer cut short": ("tokenizer.json", lambda text: text[:100]),
    "a tokenizer that is a list": ("tokenizer.json", lambda _: b"[]"),
    "a tokenizer of another kind": ("tokenizer.json", lambda _: b'{"model": 3}'),
    "settings that are a list": ("tokenizer_config.json", lambda _: b"[]"),
    "settings too deep": ("tokenizer_config.json", lambda _: b'{"a":' * 100_000),
}


@pytest.fixture
def model(bert: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "model"))


def assert_refused(model: Path, here: Path) -> str:
    what = {"model": model, "dataset": "toy", "clients": 2, "max_length": 32, "train_examples": 16}
    done = call("run", *options(**what), "--dry-run", folder=here)
    assert done.code == 2, done.everything
    (line,) = done.err.replace("\n  ", " ").splitlines()
    assert "model=" in line
    return line


@pytest.mark.parametrize("odd", ODD)
def test_a_configuration_of_no_model_is_refused(odd: str, model: Path, tmp_path: Path) -> None:
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | ODD[odd]))
    line = assert_refused(model, tmp_path)
    (field,) = ODD[odd]
    if field in ("num_labels", "num_hidden_layers"):
        assert f"says {field}: {ODD[odd][field]}"[:60] in line
        assert "allowed is a whole number from" in line


@pytest.mark.parametrize("damage", FILES)
def test_a_damaged_file_is_refused(damage: str, model: Path, tmp_path: Path) -> None:
    name, change = FILES[damage]
    content = change((model / name).read_bytes())
    (model / name).write_bytes(content)
    line = assert_refused(model, tmp_path)
    assert name in line or "tokenizer" in line


def test_one_of_several_weight_files_may_be_the_damaged_one(model: Path, tmp_path: Path) -> None:
    (model / "model-00002-of-00002.safetensors").write_bytes(b"x" * 100)
    assert "model-00002-of-00002.safetensors cannot be read" in assert_refused(model, tmp_path)


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("index", "lacks"),
    [
        (None, "model.safetensors"),
        ({"weight_map": [1]}, "model.safetensors"),
        ({"weight_map": {}}, "model.safetensors"),
        ({"weight_map": {"a": "other.safetensors"}}, "other.safetensors"),
    ],
)
def test_weights_that_are_not_where_they_belong_are_told(
    index: dict[str, Any] | None, lacks: str, model: Path, tmp_path: Path
) -> None:
    (model / "model.safetensors").rename(model / "renamed.safetensors")
    if index is not None:
        (model / INDEX).write_text(json.dumps(index))
    line = assert_refused(model, tmp_path)
    assert f"lacks {lacks}; weights are in model.safetensors, or in the files that {INDEX}" in line


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "a/../../outside.safetensors", "here.bin"]
)
@pytest.mark.parametrize("by", [INDEX, "config.json", "other.safetensors.index.json"])
def test_weights_are_taken_from_safetensors_within_the_directory_alone(
    by: str, name: str, model: Path, tmp_path: Path
) -> None:
    """Others would be no part of what the trial is named after."""
    weights = model / "model.safetensors"
    shutil.copy(weights, tmp_path / "outside.safetensors")
    torch.save(load_file(weights), model / "here.bin")
    config = json.loads((model / "config.json").read_text())
    if by == INDEX:
        weights.rename(model / "decoy.safetensors")
    else:
        config["transformers_weights"] = name if by == "config.json" else by
    if by != "config.json":
        index = {
            "metadata": {},
            "weight_map": dict.fromkeys(load_file(tmp_path / "outside.safetensors"), name),
        }
        (model / by).write_text(json.dumps(index))
    (model / "config.json").write_text(json.dumps(config))
    line = assert_refused(model, tmp_path)
    assert f"takes weights from {name}; allowed are safetensors files within the directory" in line


def test_an_absolute_path_is_no_name_within_the_directory(model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["transformers_weights"] = str(tmp_path / "outside.safetensors.index.json")
    (model / "config.json").write_text(json.dumps(config))
    assert "outside.safetensors.index.json; allowed are" in assert_refused(model, tmp_path)


def test_quantised_weights_are_no_numbers_to_train(model: Path, tmp_path: Path) -> None:
    weights = load_file(model / "model.safetensors")
    name = next(n for n in weights if n.endswith("word_embeddings.weight"))
    weights[name] = weights[name].to(torch.int8)
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    line = assert_refused(model, tmp_path)
    assert f"{name} is of type I8, as quantised weights are, and cannot be trained" in line


def test_large_models_are_no_odd_ones(tmp_path: Path) -> None:
    """Sizes of the largest models that there are, and what merely sounds like a size."""
    sizes = {"num_hidden_layers": 128, "hidden_size": 25_000, "vocab_size": 1_114_112}
    sizes |= {"max_position_embeddings": 10_485_760, "num_experts": 16_384, "num_labels": 30_522}
    sizes |= {"num_nextn_predict_layers": 0, "tie_encoder_layers": None, "rope_theta": 10**10}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    assert read_config(tmp_path) == sizes


def test_the_name_that_was_asked_for_is_blamed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(BadInput, match=r"^model='mine': "):
        read_config(tmp_path, "mine")


@pytest.mark.parametrize(
    "card",
    [
        b"\xff\xfe---\nfedtune: {learning_rate: 0.05}\n---\n",
        b"---\nfedtune: {learning_rate: .inf}\n---\n",
        b"---\nfedtune: {learning_rate: .nan}\n---\n",
        b"---\n" + b"[" * 5000 + b"\n---\n",
    ],
)
def test_a_card_that_cannot_be_read_names_no_rate(card: bytes, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(card)
    assert card_learning_rate(tmp_path) == PAPER_LEARNING_RATE
