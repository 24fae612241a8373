"""The head of another architecture: what it computes, what is drawn for it, what stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import FEW, call, new_database, options
from torch import nn
from transformers import AutoConfig
from trials import quick

from fedtune import BadInput, simulate
from fedtune.models.classifier import head_names, load_classifier
from fedtune.models.forward import forward_of
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare

LABELS = ("a", "b", "c")
DENSE = {"bert": "bert.pooler.dense", "albert": "albert.pooler", "distilbert": "pre_classifier"}
DROPOUT = {"pooler": 0.1, "relu": 0.2}


def loaded(folder: Path, head: Any = "own", seed: int = 0) -> Any:
    return load_classifier(folder, label_names=LABELS, seed=seed, head=head)


def parameters(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("head", ["pooler", "relu"])
@pytest.mark.parametrize("kind", DENSE)
def test_the_scores_are_those_of_the_encoder_and_the_head_by_hand(
    kind: str, head: str, tiny: Path
) -> None:
    trial = prepare(quick(tiny / kind, head=head))
    federation = Federation(trial)
    model, data = federation.flat.model.eval(), federation.splits["test"]
    batch = data.batch(torch.arange(len(data)))
    scores = forward_of(model)(batch)

    ids, mask = batch.padded(model.config.pad_token_id)
    first = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    dense = model.get_submodule(DENSE[kind])
    activated = torch.tanh(dense(first)) if head == "pooler" else dense(first).clamp(min=0)
    torch.testing.assert_close(scores, model.classifier(activated), atol=1e-5, rtol=1e-5)
    own = forward_of(loaded(tiny / kind).eval())(batch)
    assert own.shape != scores.shape or not torch.allclose(own, scores, atol=1e-3)


@pytest.mark.parametrize("head", ["pooler", "relu"])
@pytest.mark.parametrize("kind", DENSE)
def test_dropout_is_that_of_the_head(kind: str, head: str, without_dropout: Path) -> None:
    model = loaded(without_dropout / kind, head).train()
    assert model.dropout.p == DROPOUT[head]
    with torch.no_grad():  # every score is the number of units that are left, over the share
        model.get_submodule(DENSE[kind]).weight.zero_()
        model.get_submodule(DENSE[kind]).bias.fill_(20.0)
        model.classifier.weight.fill_(1.0)
        model.classifier.bias.zero_()
    trial = prepare(quick(without_dropout / kind))
    data = Federation(trial).splits["train"]
    draws = torch.Generator().manual_seed(0)
    batch = data.batch(torch.arange(len(data)))
    width = model.classifier.in_features
    of_one = torch.tanh(torch.tensor(20.0)) if head == "pooler" else torch.tensor(20.0)
    seen = torch.cat([forward_of(model)(batch, draws)[:, 0] for _ in range(40)]) / of_one
    left = seen * (1 - DROPOUT[head])
    torch.testing.assert_close(left, left.round(), atol=1e-3, rtol=0)
    assert abs(left.mean() / width - (1 - DROPOUT[head])) < 0.03


@pytest.mark.parametrize("kind", DENSE)
def test_what_a_head_does_not_change_is_drawn_as_without(kind: str, tiny: Path) -> None:
    own, pooler, relu = (parameters(loaded(tiny / kind, h)) for h in ("own", "pooler", "relu"))
    dense = f"{DENSE[kind]}.weight"  # biases are 0 either way
    assert own.keys() == pooler.keys() == relu.keys()
    for name, values in own.items():
        assert torch.equal(pooler[name], relu[name])
        is_new = name == dense and kind != "distilbert"
        assert torch.equal(values, pooler[name]) is not is_new, name


@pytest.mark.parametrize("kind", DENSE)
def test_the_layer_is_drawn_by_seed_and_for_each_client(kind: str, tiny: Path) -> None:
    names = {f"{DENSE[kind]}.weight", f"{DENSE[kind]}.bias"}
    first, second = loaded(tiny / kind, "relu", 0), loaded(tiny / kind, "relu", 1)
    assert names <= set(head_names(first))
    weight = f"{DENSE[kind]}.weight"
    a, b = parameters(first)[weight], parameters(second)[weight]
    assert not torch.equal(a, b)
    assert abs(float(a.std()) / AutoConfig.from_pretrained(tiny / kind).initializer_range - 1) < 0.2
    assert not parameters(first)[f"{DENSE[kind]}.bias"].any()


def test_distilberts_own_head_by_name_is_no_other_trial(tiny: Path, tmp_path: Path) -> None:
    plain = prepare(quick(tiny / "distilbert"))
    named = prepare(quick(tiny / "distilbert", head="relu"))
    assert named.trial_id == plain.trial_id
    assert named.config.head == "own"
    others = [prepare(quick(tiny / k, head=h)) for k in DENSE for h in ("own", "pooler", "relu")]
    assert len({trial.trial_id for trial in others}) == 8
    # With another dropout of its own it is another one.
    folder = tmp_path / "other"
    model = loaded(tiny / "distilbert")
    model.config.seq_classif_dropout = 0.3
    model.save_pretrained(folder)
    for file in (tiny / "distilbert").glob("tokenizer*"):
        (folder / file.name).write_bytes(file.read_bytes())
    assert prepare(quick(folder, head="relu")).config.head == "relu"


@pytest.mark.parametrize("kind", DENSE)
def test_a_trial_with_another_head_resumes_bit_for_bit(
    kind: str, tiny: Path, tmp_path: Path
) -> None:
    def numbers(records: list[dict[str, Any]]) -> list[Any]:
        return [(r["params_digest"], r["test/loss"], r["test/accuracy"]) for r in records]

    short = quick(tiny / kind, head="pooler", head_init="per_client")
    longer = short.replace(budget_rounds=2, max_rounds=2)
    whole = numbers(list(simulate(longer, tmp_path / "whole")))
    list(simulate(short, tmp_path))
    assert numbers(list(simulate(longer, tmp_path))) == whole
    assert len({digest for digest, *_ in whole}) == 3


def test_the_activation_makes_the_difference_between_the_two(tiny: Path) -> None:
    for kind in DENSE:
        found = [loaded(tiny / kind, head).eval() for head in ("pooler", "relu")]
        data = Federation(prepare(quick(tiny / kind))).splits["test"]
        batch = data.batch(torch.arange(len(data)))
        a, b = (forward_of(model)(batch) for model in found)
        assert not torch.allclose(a, b, atol=1e-4)


def test_other_architectures_have_their_own_head_alone(tiny: Path, tmp_path: Path) -> None:
    from architectures import small_config
    from transformers import AutoModelForSequenceClassification

    special = {"vocab_size": 512, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    config = small_config("roberta", **special)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    for file in (tiny / "bert").glob("tokenizer*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BadInput, match="head='pooler': is known for bert, albert, distilbert"):
        prepare(quick(tmp_path, head="pooler"))


def test_a_plan_says_what_is_drawn_and_where_transformers_computes_something_else(
    tiny: Path, tmp_path: Path
) -> None:
    new_database(tmp_path)
    what = {**FEW, "model": f"{tiny}/bert,{tiny}/distilbert", "dataset": "toy", "clients": 2}
    asked = ["run", *options(**what, head="own,pooler,relu"), "--dry-run"]
    done = call(*asked, folder=tmp_path)
    assert done.code == 0, done.everything
    text = " ".join(done.out.split())
    assert "bert.pooler.dense and classifier drawn anew" in text
    assert "distilbert: it is its own" in text
    assert f"head=relu on {tiny}/bert is unknown to transformers" in text
    assert f"head=pooler on {tiny}/distilbert is unknown to transformers" in text
    assert f"head=pooler on {tiny}/bert is none" not in text
    assert "In all 10 trials" in text


def test_modules_stay_modules(tiny: Path) -> None:
    """So that what walks through the model meets no bare function."""
    for kind in DENSE:
        model = loaded(tiny / kind, "pooler")
        assert any(isinstance(module, nn.Tanh) for module in model.modules())


def test_a_checkpoint_that_is_trained_again_has_its_architectures_dropout(
    tiny: Path, tmp_path: Path
) -> None:
    for kind in DENSE:
        folder = tmp_path / kind
        loaded(tiny / kind, "relu" if kind != "distilbert" else "pooler").save_pretrained(folder)
        assert loaded(folder).dropout.p == loaded(tiny / kind).dropout.p
