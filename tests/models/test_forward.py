"""Without padding the scores and gradients are those of transformers' own code on padded texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import RobertaConfig, RobertaForSequenceClassification

from fedtune.data import packing
from fedtune.data.batches import Batch, DeviceSplit
from fedtune.data.token_arrays import Split
from fedtune.models.classifier import load_classifier
from fedtune.models.forward import PackedForward, PaddedForward, forward_of
from fedtune.models.packed import PackedEncoder

ARCHITECTURES = ("bert", "albert", "distilbert")
LABELS = ("a", "b", "c")


def a_batch(num_texts: int = 9, pad_to: int | None = None, times: int = 1) -> Batch:
    """Random texts, all of them ``times`` times."""
    rng = np.random.default_rng(num_texts)
    lengths = rng.integers(2, 20, num_texts)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    token_ids = rng.integers(5, 40, offsets[-1]).astype(np.int32)
    split = Split(token_ids, offsets, rng.integers(0, len(LABELS), num_texts))
    device = torch.device("cpu")
    whole = DeviceSplit(split, num_classes=3, pad_token_id=0, pad_to=pad_to, device=device)
    return whole.batch(torch.arange(num_texts).repeat(times))


def load(directory: Path) -> Any:
    """A model whose numbers are of an ordinary size: freshly drawn ones are all close to 0."""
    model = load_classifier(directory, label_names=LABELS, seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def scores_and_gradients(forward: Any, batch: Batch) -> tuple[torch.Tensor, dict[str, Any]]:
    model = forward.model
    model.zero_grad()
    scores = forward(batch)
    cross_entropy(scores, batch.labels).backward()
    return scores.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("group_size", [1, 4, 64])
@pytest.mark.parametrize("pad_to", [None, 24])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_and_gradients_are_those_of_padded_texts(
    without_dropout: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    pad_to: int | None,
    group_size: int,
) -> None:
    """In training mode, and to 1e-5 in fp32 as in fp64 to 1e-10, so it is but rounding."""
    monkeypatch.setattr(packing, "GROUP_SIZE", group_size)
    batch = a_batch(pad_to=pad_to)
    for dtype, close in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        model = load(without_dropout / name).train().to(dtype)
        packed, padded = PackedForward(model, "fp32"), PaddedForward(model, "fp32")
        packed.encode.dtype = dtype
        scores, gradients = scores_and_gradients(packed, batch)
        expected, theirs = scores_and_gradients(padded, batch)
        torch.testing.assert_close(scores.to(expected.dtype), expected, rtol=close, atol=close)
        for parameter, gradient in theirs.items():
            ours = gradients[parameter]
            if gradient is None or ours is None:
                assert gradient is ours, parameter
            else:
                torch.testing.assert_close(
                    ours, gradient, rtol=close, atol=close * 10, msg=parameter
                )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_states_are_those_of_padded_texts(without_dropout: Path, name: str) -> None:
    model, batch = load(without_dropout / name).eval(), a_batch()
    token_ids, mask = batch.padded()
    with torch.no_grad():
        theirs = model.base_model(input_ids=token_ids, attention_mask=mask).last_hidden_state
        encode = PackedEncoder(model.base_model)
        ours = encode(batch.token_ids, batch.packing)
        first = encode(batch.token_ids, batch.packing, first_only=True)
    torch.testing.assert_close(ours, theirs[mask.bool()], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first, theirs[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_segments_are_those_of_padded_texts(without_dropout: Path, name: str) -> None:
    model, batch = load(without_dropout / name).eval(), a_batch()
    token_ids, mask = batch.padded()
    types = torch.randint(0, 2, token_ids.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = model.base_model(
            input_ids=token_ids, attention_mask=mask, token_type_ids=types
        ).last_hidden_state
        ours = PackedEncoder(model.base_model)(batch.token_ids, batch.packing, types[mask.bool()])
    torch.testing.assert_close(ours, theirs[mask.bool()], rtol=1e-5, atol=1e-5)


def test_products_have_few_shapes_and_little_filling() -> None:
    """Each new shape of a bf16 product costs a CPU half a millisecond."""
    rounded = {count: packing.round_up(count) for count in range(1, 9000)}
    assert all(count <= rows < count + 128 for count, rows in rounded.items())
    assert all(rows <= 1.13 * count for count, rows in rounded.items() if count >= 128)
    assert len({rounded[count] for count in range(1500, 2500)}) < 16
    lengths = torch.tensor([3, 8, 9, 100])
    widths = [group.width for group in packing.Packing(lengths).groups]
    assert widths == [104]


@pytest.mark.parametrize("num_texts", [1, 2])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_small_batches_work_too(without_dropout: Path, name: str, num_texts: int) -> None:
    """Also where there are as many tokens as texts ask for: one text, one token that asks."""
    model, batch = load(without_dropout / name).eval(), a_batch(num_texts)
    with torch.no_grad():
        ours, theirs = PackedForward(model, "fp32")(batch), PaddedForward(model, "fp32")(batch)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dropout_is_where_transformers_has_it(tiny: Path, name: str) -> None:
    """The spread over draws of dropout is that of transformers' own code."""
    model, batch = load(tiny / name).train(), a_batch(3, times=60)

    def draws(forward: Any) -> torch.Tensor:
        torch.manual_seed(0)
        with torch.no_grad():
            return torch.cat([forward(batch).view(60, 3, -1) for _ in range(10)])

    ours, theirs = draws(PackedForward(model, "fp32")), draws(PaddedForward(model, "fp32"))
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.15, atol=0)
    error = theirs.std(0) / 600**0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 6 * error).all()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bf16_rounds_products_and_nothing_else(without_dropout: Path, name: str) -> None:
    model, batch = load(without_dropout / name).train(), a_batch()
    scores, gradients = scores_and_gradients(forward_of(model, "bf16"), batch)
    exact, theirs = scores_and_gradients(forward_of(model), batch)
    assert scores.dtype == torch.float32
    assert (scores - exact).norm() < 0.05 * exact.norm()
    assert not torch.equal(scores, exact)
    whole = [
        torch.cat([g.flatten() for g in side.values() if g is not None])
        for side in (gradients, theirs)
    ]
    assert {gradient.dtype for gradient in whole} == {torch.float32}
    assert torch.cosine_similarity(*whole, dim=0).item() > 0.99


def test_another_architecture_goes_through_its_own_code() -> None:
    config = RobertaConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
        pad_token_id=0,
    )
    model = RobertaForSequenceClassification(config).eval()
    batch = a_batch()
    forward = forward_of(model)
    assert isinstance(forward, PaddedForward)
    token_ids, mask = batch.padded()
    with torch.no_grad():
        expected = model(input_ids=token_ids, attention_mask=mask).logits
        assert torch.equal(forward(batch), expected)
        rounded = forward_of(model, "bf16")(batch)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, expected, rtol=0.05, atol=0.05)
