"""A model as one vector: the same model, no more and no less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from material import LABELS, load_flat, on_device, random_split, recipe
from torch import nn

from fedtune.federated.flat import FlatModel, digest
from fedtune.federated.local import train_client
from fedtune.models.classifier import load_classifier


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.frozen = nn.Parameter(torch.ones(5), requires_grad=False)


@pytest.mark.parametrize("name", ["bert", "albert", "distilbert"])
def test_a_flat_model_has_every_parameter_once_and_with_its_value(name: str, tiny: Path) -> None:
    model = load_classifier(tiny / name, label_names=LABELS, seed=0)
    expected = {key: p.detach().clone() for key, p in model.named_parameters()}
    flat = FlatModel(model)
    assert flat.num_parameters == sum(p.numel() for p in expected.values())
    assert list(flat.slices) == list(expected)
    for key, part in flat.slices.items():
        assert torch.equal(flat.values[part], expected[key].flatten()), key
        assert torch.equal(dict(model.named_parameters())[key], expected[key]), key


def test_the_vector_and_the_model_are_the_same_memory() -> None:
    model = Tied()
    flat = FlatModel(model)
    flat.values.copy_(torch.arange(flat.num_parameters))
    assert model.first.weight[0, 1] == 1
    model.second.bias.data.fill_(-7)
    assert (flat.values == -7).sum() == 3


def test_tied_weights_are_one_and_frozen_ones_none() -> None:
    model = Tied()
    flat = FlatModel(model)
    assert flat.num_parameters == 9 + 3 + 3
    assert model.first.weight.data_ptr() == model.second.weight.data_ptr()
    flat.values.zero_()
    assert model.second.weight.abs().sum() == 0
    assert model.frozen.sum() == 5


def test_gradients_of_tied_weights_are_added_up() -> None:
    model = Tied()
    flat = FlatModel(model)
    x = torch.ones(1, 3)
    (model.first(x).sum() + 10 * model.second(x).sum()).backward()
    assert flat.parameters.grad is not None
    assert torch.equal(flat.parameters.grad[flat.slices["first.weight"]], torch.full((9,), 11.0))


def test_gradients_stay_views_through_training(tiny: Path) -> None:
    flat = load_flat(tiny / "bert")
    train_client(flat, on_device(random_split(8)), torch.arange(8), recipe(), 1, 0)
    assert flat.parameters.grad is not None
    for name, parameter in flat.model.named_parameters():
        part = flat.slices[name]
        assert parameter.data_ptr() == flat.values[part].data_ptr(), name
        assert parameter.grad.data_ptr() == flat.parameters.grad[part].data_ptr(), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_parameters_in_another_precision_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"weight is torch\..*float32"):
        FlatModel(nn.Linear(2, 2).to(dtype))


def test_a_digest_tells_two_vectors_apart_bit_by_bit() -> None:
    vector = torch.ones(100)
    other = vector.clone()
    other[50] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert digest(vector) == digest(vector.clone())
    assert len({digest(vector), digest(other), digest(-vector)}) == 3
    assert digest(torch.zeros(1)) != digest(-torch.zeros(1))
    assert len(digest(vector)) == 16


def test_a_digest_of_buffers_sees_what_training_could_change() -> None:
    flat = FlatModel(nn.BatchNorm1d(3))
    before = flat.buffers_digest()
    assert flat.buffers_digest() == before
    flat.model(torch.rand(4, 3))
    assert flat.buffers_digest() != before
