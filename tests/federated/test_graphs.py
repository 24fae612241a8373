"""A step on a GPU: batches filled up, and recorded kernels with the bits of those not recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from material import NUM_CLASSES, PAD, load_flat, on_device, random_split, recipe

from fedtune.data.batches import Batch, DeviceSplit
from fedtune.data.token_arrays import Split
from fedtune.federated import graphs
from fedtune.federated.flat import FlatModel
from fedtune.federated.graphs import StepGraphs, filled
from fedtune.federated.local import train_client

ARCHITECTURES = ("bert", "albert", "distilbert")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def gradient(flat: FlatModel, add: Callable[[Batch], torch.Tensor], batch: Batch) -> torch.Tensor:
    """The loss and the gradient of a batch, one after the other."""
    assert flat.parameters.grad is not None
    flat.parameters.grad.zero_()
    loss = add(batch)
    return torch.cat([loss.flatten(), flat.parameters.grad])


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size", [1, 3, 16, 40])
def test_fillers_change_neither_loss_nor_gradient(
    name: str, size: int, without_dropout: Path
) -> None:
    flat, data = load_flat(without_dropout / name), on_device(random_split(50))
    batch = data.batch(torch.arange(size) + 2)
    own, full = (gradient(flat, flat.add_gradient, each) for each in (batch, filled(batch)))
    torch.testing.assert_close(full, own, rtol=1e-3, atol=1e-5)


def test_fillers_of_pairs_have_segments_too(without_dropout: Path) -> None:
    flat, data = load_flat(without_dropout / "bert"), on_device(random_split(9))
    batch = data.batch(torch.arange(9))
    pairs = replace(batch, token_types=(torch.arange(len(batch.token_ids)) % 2).int())
    own, full = (gradient(flat, flat.add_gradient, each) for each in (pairs, filled(pairs)))
    torch.testing.assert_close(full, own, rtol=1e-3, atol=1e-5)
    plain = gradient(flat, flat.add_gradient, batch)
    assert not torch.allclose(full, plain, rtol=1e-3, atol=1e-5)


def test_few_shapes_occur_and_no_position_that_the_model_lacks() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 65, 400)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    split = Split(np.full(offsets[-1], 7, np.int32), offsets, rng.integers(0, NUM_CLASSES, 400))
    data, shapes = on_device(split), set()
    for size in (1, 2, 8, 200):
        for _ in range(100):
            batch = data.batch(torch.from_numpy(rng.permutation(400)[:size]))
            full = filled(batch)
            packing = full.packing
            assert len(full.token_ids) == packing.num_tokens == int(packing.lengths.sum())
            assert packing.num_tokens <= 1.13 * batch.packing.num_tokens + 67
            assert packing.groups[0].width == 32 * math.ceil(int(batch.packing.lengths.max()) / 32)
            assert int(packing.positions.max()) == int(batch.packing.positions.max())
            assert full.labels[:size].tolist() == batch.labels.tolist()
            assert set(full.labels[size:].tolist()) == {-100}
            assert (full.token_ids[batch.packing.num_tokens :] == PAD).all()
            shapes.add((packing.num_tokens, len(full), packing.groups[0].width))
    assert len(shapes) < 45


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_recorded_step_reads_all_of_the_new_batch(
    name: str, without_dropout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for a graph that calls again what was recorded, on the tensors of then."""
    recorded = []

    class Again:
        def __init__(self, step: Any):
            self.step, self.loss = step, torch.zeros(())

        def replay(self) -> None:
            (batch,) = self.step.args
            batch.packing._indices.clear()  # which a graph makes anew too
            batch.packing._biases.clear()
            self.loss.copy_(self.step())

    class Recorder:
        def __init__(self, device: torch.device):
            assert not recorded, "one for all graphs of a model"

        def record(self, step: Any) -> tuple[Again, torch.Tensor]:
            recorded.append(Again(step))
            return recorded[-1], recorded[-1].loss

    monkeypatch.setattr(graphs, "Recorder", Recorder)
    flat, data = load_flat(without_dropout / name), on_device(random_split(60))
    steps = StepGraphs(torch.device("cpu"))
    run = partial(steps.run, gradient=flat._gradient)
    for start in range(0, 52, 2):
        batch = data.batch(torch.arange(8) + start)
        types = (torch.arange(len(batch.token_ids)) % 3 == 0).int()
        batch = replace(batch, token_types=types)
        own, ran = (gradient(flat, add, batch) for add in (flat.add_gradient, run))
        torch.testing.assert_close(ran, own, rtol=1e-3, atol=1e-5)
    assert 1 <= len(recorded) <= 3, "26 batches of 8 texts have two numbers of tokens or three"
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 0)
    steps = StepGraphs(torch.device("cpu"))
    for _ in range(5):
        steps.run(data.batch(torch.arange(8)), flat._gradient)
    assert len(recorded) <= 3, "beyond the most, steps run kernel by kernel"


def test_labels_that_are_distributions_are_not_filled_up(without_dropout: Path) -> None:
    flat, data = load_flat(without_dropout / "bert"), on_device(random_split(6))
    flat._graphs = StepGraphs(torch.device("cpu"))
    flat._graphs.run = pytest.fail  # type: ignore[assignment]
    soft = torch.full((6, NUM_CLASSES), 1 / NUM_CLASSES)
    batch = data.labelled(soft).batch(torch.arange(6))
    assert flat.add_gradient(batch).isfinite()


def _trained(
    directory: Path, precision: Any = "fp32", device: str = "cuda"
) -> tuple[torch.Tensor, FlatModel]:
    from fedtune.models.classifier import load_classifier
    from fedtune.trial.device import deterministic_kernels

    model = load_classifier(directory, label_names=("a", "b", "c"), seed=0)
    flat = FlatModel(model.to(device), precision)
    data = DeviceSplit(
        random_split(100),
        num_classes=NUM_CLASSES,
        pad_token_id=PAD,
        pad_to=None,
        device=torch.device(device),
    )
    with torch.random.fork_rng(devices=[device]), deterministic_kernels():
        for client_id in range(3):
            examples = torch.arange(33) + 33 * client_id
            train_client(flat, data, examples, recipe(batch_size=8), 1, client_id)
    return flat.values.clone(), flat


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recorded_kernels_give_the_bits_of_those_not_recorded(
    name: str, precision: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_graphs, flat = _trained(tiny / name, precision)
    assert flat._graphs is not None
    assert flat._graphs._recorded, "some shape has occurred often enough"
    again, _ = _trained(tiny / name, precision)
    monkeypatch.setattr(graphs, "SEEN_BEFORE", 10**9)
    without, flat = _trained(tiny / name, precision)
    assert flat._graphs is not None
    assert not flat._graphs._recorded
    assert torch.equal(with_graphs, again)
    assert torch.equal(with_graphs, without)


@on_gpu
def test_a_gpu_that_is_not_the_first_records_its_own_kernels(tiny: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    first, _ = _trained(tiny / "bert", device="cuda:0")
    second, flat = _trained(tiny / "bert", device="cuda:1")
    assert flat._graphs is not None
    assert flat._graphs._recorded
    assert torch.equal(first.cpu(), second.cpu())
