"""Which layers of a head are kept, and that a checkpoint says nothing of an earlier one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import small_config
from safetensors.torch import load_file
from support import log
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    pipeline,
)
from trials import quick

from fedtune import simulate
from fedtune.models.classifier import drawn_anew, head_names, load_classifier
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare

LABELS = ("a", "b", "c")
SPECIAL = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2}
SPECIAL |= {"eos_token_id": 3, "sep_token_id": 3}


def saved(task: Any, kind: str, tiny: Path, folder: Path, **values: Any) -> Path:
    torch.manual_seed(1)
    task.from_config(small_config(kind, **SPECIAL, **values)).save_pretrained(folder)
    for file in (tiny / "bert").glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kind", ["modernbert", "roberta", "electra", "mpnet"])
def test_what_masked_language_training_leaves_is_kept_as_transformers_keeps_it(
    kind: str, tiny: Path, tmp_path: Path
) -> None:
    folder = saved(AutoModelForMaskedLM, kind, tiny, tmp_path)
    model = load_classifier(folder, label_names=LABELS, seed=0)
    ours, drawn = tensors(model), head_names(model)
    theirs = tensors(AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - set(drawn):
        assert torch.equal(ours[name], theirs[name]), name
    assert ("head.dense.weight" in ours) is (kind == "modernbert")
    assert not any(name.startswith("head.") for name in drawn)
    assert "classifier" in drawn_anew(folder, 3)[-1]


@pytest.mark.parametrize("num_labels", [3, 5])
def test_of_a_fine_tuned_modernbert_only_the_classifier_is_new(
    num_labels: int, tiny: Path, tmp_path: Path
) -> None:
    task = AutoModelForSequenceClassification
    folder = saved(task, "modernbert", tiny, tmp_path, num_labels=num_labels)
    file = load_file(folder / "model.safetensors")
    model = load_classifier(folder, label_names=LABELS, seed=0)
    assert head_names(model) == ["classifier.weight", "classifier.bias"]
    assert drawn_anew(folder, 3) == ("classifier",)
    assert torch.equal(tensors(model)["head.dense.weight"], file["head.dense.weight"])
    assert not torch.equal(tensors(model)["classifier.weight"], file.get("classifier.weight"))


def test_the_head_of_another_task_is_not_kept_though_it_fits(tiny: Path, tmp_path: Path) -> None:
    folder = saved(AutoModelForTokenClassification, "bert", tiny, tmp_path, num_labels=3)
    file = load_file(folder / "model.safetensors")
    model = load_classifier(folder, label_names=LABELS, seed=0)
    ours = tensors(model)["classifier.weight"]
    assert ours.shape == file["classifier.weight"].shape
    assert not torch.equal(ours, file["classifier.weight"])


def test_heads_of_clients_apart_leave_pretrained_layers_alone(tiny: Path, tmp_path: Path) -> None:
    folder = saved(AutoModelForMaskedLM, "modernbert", tiny, tmp_path)
    federation = Federation(prepare(quick(folder, head_init="per_client")))
    kept = load_file(folder / "model.safetensors")["head.dense.weight"]
    federation.flat.values.copy_(federation.server.params)
    torch.testing.assert_close(federation.flat.model.head.dense.weight.detach(), kept)
    shared = Federation(prepare(quick(folder)))
    part = federation.flat.slices["classifier.weight"]
    assert not torch.equal(shared.server.params[part], federation.server.params[part])


#: What configurations say of the head that they were saved with.
OLD_HEADS: dict[str, dict[str, Any]] = {
    "several labels": {"problem_type": "multi_label_classification"},
    "a number": {"problem_type": "regression", "num_labels": 1, "id2label": {"0": "score"}},
    "no function": {"function_to_apply": "none", "return_all_scores": True},
    "a task's own": {"task_specific_params": {"text-classification": {"num_labels": 7}}},
    "a cross-encoder": {
        "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"},
        "finetuning_task": "stsb",
        "label2id": {"only": 0},
        "id2label": {"0": "only"},
    },
}


@pytest.mark.parametrize("old", OLD_HEADS)
def test_a_checkpoint_says_nothing_of_an_earlier_head(old: str, bert: str, tmp_path: Path) -> None:
    """And so a pipeline answers with probabilities of the classes that were trained."""
    model = Path(shutil.copytree(bert, tmp_path / "model"))
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | OLD_HEADS[old]))
    list(simulate(quick(model), store=tmp_path / "store"))
    (checkpoint,) = (tmp_path / "store").glob("*/checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["problem_type"] == "single_label_classification"
    assert len(config["id2label"]) == len(config["label2id"]) == 2
    others = OLD_HEADS[old].keys() - {"problem_type", "id2label", "label2id"}
    assert not others & config.keys()
    (answer,) = pipeline("text-classification", model=str(checkpoint), top_k=None)(["rain"])
    assert sorted(each["label"] for each in answer) == sorted(config["label2id"])
    assert sum(each["score"] for each in answer) == pytest.approx(1, abs=1e-5)


def numbers(folder: Path) -> list[dict[str, Any]]:
    """A trial's log without the digests, which begin with its name."""
    return [{k: v for k, v in record.items() if k != "log_digest"} for record in log(folder)]


#: What whoever calls a model may ask for in its configuration, by name.
CALLERS: dict[str, dict[str, Any]] = {
    "attentions": {"output_attentions": True},
    "hidden states": {"output_hidden_states": True},
    "tuples": {"return_dict": False},
    "tuples, as it was called once": {"use_return_dict": False, "torchscript": True},
    "all": {"output_attentions": True, "output_hidden_states": True, "return_dict": False},
}


@pytest.mark.parametrize("asked", CALLERS)
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_what_a_caller_asks_of_a_model_is_not_asked_while_it_trains(
    kind: str, asked: str, tiny: Path, tmp_path: Path
) -> None:
    """As people have saved it who looked at attention; the pipeline fails on tuples, too."""
    folder = saved(AutoModelForSequenceClassification, kind, tiny, tmp_path / "model")
    list(simulate(quick(folder), store=tmp_path / "plain"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | CALLERS[asked]))
    list(simulate(quick(folder), store=tmp_path / "store"))
    (plain,), (checkpoint,) = ((tmp_path / s).glob("*/checkpoint") for s in ("plain", "store"))
    assert numbers(checkpoint.parent) == numbers(plain.parent)
    assert not CALLERS[asked].keys() & json.loads((checkpoint / "config.json").read_text()).keys()
    (answer,) = pipeline("text-classification", model=str(checkpoint), top_k=None)(["rain"])
    assert len(answer) == 2


@pytest.mark.parametrize("told", [None, -1, 10**6])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
def test_a_model_takes_the_tokenizers_padding_where_it_has_none_of_its_own(
    kind: str, told: int | None, tiny: Path, tmp_path: Path
) -> None:
    """As GPT-2's and Qwen2's configurations have none, and older LLaMAs' -1."""
    task = AutoModelForSequenceClassification
    folder = saved(task, kind, tiny, tmp_path / "model")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": told}))
    list(simulate(quick(folder), store=tmp_path / "store"))
    (checkpoint,) = (tmp_path / "store").glob("*/checkpoint")
    assert json.loads((checkpoint / "config.json").read_text())["pad_token_id"] == 0
    assert (
        len(pipeline("text-classification", model=str(checkpoint), batch_size=2)(["a", "b"])) == 2
    )


def test_padding_is_the_models_where_the_tokenizers_is_another(tiny: Path, tmp_path: Path) -> None:
    """The model finds a text's end by its own, so that of the tokenizer would be read as text."""
    folder = saved(AutoModelForSequenceClassification, "llama", tiny, tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": 60}))
    federation = Federation(prepare(quick(folder)))
    data, flat = federation.splits["test"], federation.flat
    flat.model.eval()
    with torch.inference_mode():
        order = torch.argsort(data.lengths, stable=True)
        together = flat.forward(data.batch(order))
        alone = torch.cat([flat.forward(data.batch(place[None])) for place in order])
    assert len(set(data.lengths.tolist())) > 1
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
