"""Loading: fp32 always, the head drawn from the seed, nothing executed, nothing looked up."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification, BertForMaskedLM, logging
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from fedtune.errors import BadInput
from fedtune.models.classifier import draw_head, head_names, load_classifier
from fedtune.models.configuration import describe

LABELS = ("a", "b", "c")
HEADS = {
    "bert": ["classifier.weight", "classifier.bias"],
    "albert": ["classifier.weight", "classifier.bias"],
    "distilbert": [
        "pre_classifier.weight",
        "pre_classifier.bias",
        "classifier.weight",
        "classifier.bias",
    ],
}


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(tiny / name, tmp_path / name))


def state(directory: Path, seed: int = 0, labels: tuple[str, ...] = LABELS) -> dict[str, Any]:
    model = load_classifier(directory, label_names=labels, seed=seed)
    return {name: p.detach() for name, p in model.named_parameters()}


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", HEADS)
def test_the_encoder_is_the_files_and_the_head_is_new(name: str, tiny: Path) -> None:
    files = load_file(tiny / name / "model.safetensors")
    loaded = state(tiny / name)
    encoder = {key.split(".", 1)[1] for key in loaded if key not in HEADS[name]}
    assert encoder == set(files)
    for key in encoder:
        assert torch.equal(loaded[f"{name}.{key}"], files[key]), key
    model = load_classifier(tiny / name, label_names=LABELS, seed=0)
    assert head_names(model) == HEADS[name]
    assert loaded["classifier.weight"].shape[0] == len(LABELS)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}


@pytest.mark.parametrize("name", HEADS)
def test_the_head_comes_from_the_seed_and_the_encoder_does_not(name: str, tiny: Path) -> None:
    first, other = state(tiny / name, seed=0), state(tiny / name, seed=1)
    torch.manual_seed(77)
    torch.rand(3)
    again = state(tiny / name, seed=0)
    for key in first:
        assert torch.equal(first[key], again[key]), key
        drawn = key in HEADS[name] and key.endswith("weight")
        assert torch.equal(first[key], other[key]) is not drawn, key


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_drawn_by_the_architectures_own_rule(name: str, copied: Any) -> None:
    directory = copied(name)
    edit(directory / "config.json", initializer_range=0.5)
    for key, tensor in state(directory, labels=tuple("abcdefgh")).items():
        if key in HEADS[name]:
            spread = 0.0 if key.endswith("bias") else 0.5
            assert tensor.std().item() == pytest.approx(spread, rel=0.15), key
            assert abs(tensor.mean().item()) < 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", HEADS)
def test_a_directory_in_half_precision_is_loaded_as_fp32(
    dtype: torch.dtype, name: str, tiny: Path, tmp_path: Path
) -> None:
    half = AutoModelForSequenceClassification.from_pretrained(tiny / name, dtype=dtype)
    half.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] != "float32"
    loaded = state(tmp_path)
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    model = load_classifier(tmp_path, label_names=LABELS, seed=0)
    assert {b.dtype for b in model.buffers() if b.is_floating_point()} <= {torch.float32}
    before = loaded[next(key for key in loaded if key.endswith("LayerNorm.weight"))].clone()
    assert not torch.equal(before + 2e-5 * torch.ones_like(before), before), "such steps arrive"


@pytest.mark.parametrize("num_labels", [2, 3])
@pytest.mark.parametrize("name", HEADS)
def test_the_head_of_a_fine_tuned_checkpoint_is_drawn_anew(
    name: str, num_labels: int, tiny: Path, tmp_path: Path
) -> None:
    """With as many classes as here its weights would fit, and with others they would not."""
    tuned = AutoModelForSequenceClassification.from_pretrained(tiny / name, num_labels=num_labels)
    for parameter in tuned.parameters():
        parameter.data.add_(1)
    tuned.save_pretrained(tmp_path)
    fresh, loaded = state(tiny / name, seed=5), state(tmp_path, seed=5)
    for key in loaded:
        if key in HEADS[name]:
            assert torch.equal(loaded[key], fresh[key]), key
        else:
            assert torch.equal(loaded[key], fresh[key] + 1), key


@pytest.mark.parametrize("name", HEADS)
def test_drawing_a_head_changes_nothing_else(name: str, tiny: Path) -> None:
    model = load_classifier(tiny / name, label_names=LABELS, seed=0)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    places = {key: p.data_ptr() for key, p in model.named_parameters()}
    generator = torch.get_rng_state()
    draw_head(model, 0, "client", 3)
    for key, parameter in model.named_parameters():
        drawn = key in HEADS[name] and key.endswith("weight")
        assert torch.equal(parameter, before[key]) is not drawn, key
        assert parameter.data_ptr() == places[key], "in place: it may be a view into a vector"
        assert parameter.requires_grad
    assert torch.equal(torch.get_rng_state(), generator)
    draw_head(model, 0)
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, before[key]), key


def test_loading_leaves_the_callers_random_numbers_and_verbosity(bert: str) -> None:
    torch.manual_seed(3)
    generator, verbosity = torch.get_rng_state(), logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_info()
    try:
        load_classifier(Path(bert), label_names=LABELS, seed=0)
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled() == bars
    finally:
        logging.set_verbosity(verbosity)
    assert torch.equal(torch.get_rng_state(), generator)


def test_loading_says_nothing(bert: str, capfd: pytest.CaptureFixture[str]) -> None:
    load_classifier(Path(bert), label_names=LABELS, seed=0)
    assert capfd.readouterr() == ("", "")


def test_an_architecture_without_sequence_classifier_is_refused(copied: Any) -> None:
    directory = copied("bert")
    edit(directory / "config.json", model_type="vit", architectures=["ViTModel"])
    with pytest.raises(BadInput, match=r"^model=.* is no sequence classifier"):
        load_classifier(directory, label_names=LABELS, seed=0)


def test_an_unknown_architecture_is_refused(copied: Any) -> None:
    directory = copied("bert")
    edit(directory / "config.json", model_type="no-such-type", architectures=["NoSuchModel"])
    with pytest.raises(BadInput, match=r"^model=.* is no sequence classifier"):
        load_classifier(directory, label_names=LABELS, seed=0)


@pytest.mark.parametrize(
    "change", [{"num_hidden_layers": 3}, {"vocab_size": 99}, {"intermediate_size": 16}]
)
def test_an_encoder_whose_weights_are_not_in_the_file_is_refused(
    change: dict[str, int], copied: Any
) -> None:
    """It would be trained from random numbers without a word."""
    directory = copied("bert")
    edit(directory / "config.json", **change)
    with pytest.raises(BadInput, match=r"do not belong together.*such as bert\."):
        load_classifier(directory, label_names=LABELS, seed=0)


def test_the_weights_of_another_architecture_are_refused(copied: Any) -> None:
    bert, distilbert = copied("bert"), copied("distilbert")
    shutil.copy(distilbert / "model.safetensors", bert / "model.safetensors")
    with pytest.raises(BadInput, match="do not belong together"):
        load_classifier(bert, label_names=LABELS, seed=0)


def test_a_pooler_that_was_never_pretrained_is_drawn_from_the_seed(
    copied: Any, tmp_path: Path
) -> None:
    """A checkpoint of masked language modelling alone has none."""
    BertForMaskedLM.from_pretrained(copied("bert")).save_pretrained(tmp_path / "mlm")
    key = "bert.pooler.dense.weight"
    first, again, other = (state(tmp_path / "mlm", seed=seed)[key] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_running_statistics_are_refused(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FedAvg averages parameters; statistics that training gathers on the side would be lost."""
    build = BertForSequenceClassification.__init__

    def build_with_batch_norm(self: Any, config: Any) -> None:
        build(self, config)
        self.norm = nn.BatchNorm1d(config.hidden_size)

    monkeypatch.setattr(BertForSequenceClassification, "__init__", build_with_batch_norm)
    with pytest.raises(BadInput, match="norm keeps running statistics"):
        load_classifier(Path(bert), label_names=LABELS, seed=0)


@pytest.mark.parametrize("model_type", ["bert", "no-such-type"])
def test_code_in_a_directory_is_not_executed(model_type: str, copied: Any, tmp_path: Path) -> None:
    directory, mark = copied("bert"), tmp_path / "executed"
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    for module in ("configuration_evil.py", "modeling_evil.py", "__init__.py"):
        (directory / module).write_text(code)
    edit(
        directory / "config.json",
        model_type=model_type,
        auto_map={
            "AutoConfig": "configuration_evil.EvilConfig",
            "AutoModelForSequenceClassification": "modeling_evil.EvilModel",
        },
    )
    if model_type == "bert":  # known to transformers, whose own code is used instead
        load_classifier(directory, label_names=LABELS, seed=0)
    else:
        with pytest.raises(BadInput, match="is no sequence classifier"):
            load_classifier(directory, label_names=LABELS, seed=0)
    assert not mark.exists()


def test_a_pickle_beside_the_weights_is_not_opened(copied: Any) -> None:
    directory = copied("bert")
    (directory / "pytorch_model.bin").write_bytes(b"not even a pickle")
    load_classifier(directory, label_names=LABELS, seed=0)


def test_loading_asks_no_network(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("looked something up")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_classifier(Path(bert), label_names=LABELS, seed=0)


@pytest.mark.parametrize("name", HEADS)
def test_the_shape_of_a_model_is_read_from_its_configuration(name: str, tiny: Path) -> None:
    shape = describe(tiny / name)
    config = load_classifier(tiny / name, label_names=LABELS, seed=0).config
    assert shape == {
        "layers": config.num_hidden_layers,
        "max_positions": config.max_position_embeddings,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "heads": config.num_attention_heads,
    }
    assert (shape["layers"], shape["hidden_size"]) == (2, 32)


def test_positions_that_stand_for_padding_take_no_text(tmp_path: Path) -> None:
    config = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert describe(tmp_path)["max_positions"] == 512


def test_what_a_configuration_does_not_say_is_zero(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert set(describe(tmp_path).values()) == {0}
