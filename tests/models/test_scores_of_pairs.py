"""Pairs of texts get the scores that transformers gives them, from words to classes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoTokenizer,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from fedtune.data import toy
from fedtune.data.batches import Batch, DeviceSplit
from fedtune.data.token_arrays import open_tokens
from fedtune.data.tokenization import tokenize
from fedtune.models.classifier import load_classifier
from fedtune.models.forward import PackedForward, PaddedForward, forward_of

ARCHITECTURES = ("bert", "albert", "distilbert")
LABELS = ("no", "yes")
MAX_LENGTH = 20


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str, int]]:
    """Some that fit and some that are cut; never equally long."""
    generator = random.Random(0)
    words = [text.split() for text, _ in toy.load()[0]]
    made = []
    for number in range(24):
        first, second = generator.choice(words), generator.choice(words)
        made.append((" ".join(first), " ".join(second[: generator.randint(0, 9)]), number % 2))
    return made


@pytest.fixture(scope="module")
def folder(pairs: list[tuple[str, str, int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    records = [{"first": a, "second": b, "label": label} for a, b, label in pairs]
    for split in ("train", "test"):
        (folder / f"{split}.json").write_text(json.dumps(records))
    return folder


def batch_of(folder: Path, tokenizer_dir: Path, pad_to: int | None = None) -> tuple[Batch, Any]:
    """All pairs as a batch, and the order in which it has them."""
    tokens = open_tokens(
        tokenize(str(folder), tokenizer_dir, max_length=MAX_LENGTH, text_column="first,second")
    )
    cpu = torch.device("cpu")
    data = DeviceSplit(tokens.train, num_classes=2, pad_token_id=0, pad_to=pad_to, device=cpu)
    return data.batch(torch.arange(len(data))), torch.argsort(data.lengths, stable=True)


def load(directory: Path) -> Any:
    """A model whose numbers are of an ordinary size, so that a wrong segment shows."""
    model = load_classifier(directory, label_names=LABELS, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def theirs(model: Any, tokenizer_dir: Path, pairs: list[tuple[str, str, int]]) -> torch.Tensor:
    """What transformers makes of the texts themselves."""
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizer_dir))
    first, second, _ = zip(*pairs, strict=True)
    given = tokenizer(
        list(first),
        list(second),
        truncation=True,
        max_length=MAX_LENGTH,
        padding=True,
        return_tensors="pt",
    )
    if model.config.model_type in ("distilbert", "roberta"):  # they have no segments
        del given["token_type_ids"]
    with torch.no_grad():
        scores: torch.Tensor = model(**given).logits
    return scores


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_of_pairs_are_those_of_transformers(
    name: str, tiny: Path, folder: Path, pairs: list[tuple[str, str, int]]
) -> None:
    model = load(tiny / name)
    batch, order = batch_of(folder, tiny / name)
    expected = theirs(model, tiny / name, pairs)[order]
    forward = forward_of(model)
    assert isinstance(forward, PackedForward)
    with torch.no_grad():
        ours, padded = forward(batch), PaddedForward(model, "fp32")(batch)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(padded, expected, rtol=1e-5, atol=1e-5)
    assert [pairs[i][2] for i in order] == batch.labels.tolist()
    blind = Batch(batch.token_ids, batch.packing, batch.labels, batch.pad_token_id)
    with torch.no_grad():
        unlike = (forward(blind) - expected).abs().max() > 1e-3
    assert bool(unlike) is (name != "distilbert")


@pytest.mark.parametrize("pad_to", [None, MAX_LENGTH + 4])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_of_pairs_are_those_of_padded_texts(
    name: str, pad_to: int | None, without_dropout: Path, folder: Path
) -> None:
    model = load(without_dropout / name).train()
    batch, _ = batch_of(folder, without_dropout / name, pad_to)
    gradients = []
    for forward in (PackedForward(model, "fp32"), PaddedForward(model, "fp32")):
        model.zero_grad()
        cross_entropy(forward(batch), batch.labels).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    ours, expected = gradients
    for parameter, gradient in expected.items():
        torch.testing.assert_close(
            ours[parameter], gradient, rtol=1e-5, atol=1e-4, msg=lambda m, p=parameter: f"{p}: {m}"
        )
    if name != "distilbert":
        table = next(value for key, value in ours.items() if "token_type_embeddings" in key)
        assert table[1].abs().max() > 0, "the second segment is trained"


@pytest.mark.parametrize("kind", ["electra", "roberta"])
def test_other_architectures_get_segments_where_they_have_them(
    kind: str, tiny: Path, folder: Path, pairs: list[tuple[str, str, int]]
) -> None:
    shape = {
        "vocab_size": 100,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_labels": 2,
        "pad_token_id": 0,
        "initializer_range": 0.5,
    }
    torch.manual_seed(0)
    model = (
        ElectraForSequenceClassification(ElectraConfig(**shape, embedding_size=16))
        if kind == "electra"
        else RobertaForSequenceClassification(RobertaConfig(**shape, type_vocab_size=1))
    ).eval()
    batch, order = batch_of(folder, tiny / "bert")
    forward = forward_of(model)
    assert isinstance(forward, PaddedForward)
    with torch.no_grad():
        ours = forward(batch)
    expected = theirs(model, tiny / "bert", pairs)[order]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
