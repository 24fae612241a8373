"""What a trial computes with, and what each round's record says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from quick import quick, timeless
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from fedtune.federated.flat import digest
from fedtune.federated.local import Diverged, train_client
from fedtune.models.classifier import draw_head, head_names
from fedtune.models.forward import PackedForward, PaddedForward
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare
from fedtune.trial.speed import measure


def federation(model: str, **changes: Any) -> Federation:
    return Federation(prepare(quick(model, **changes)))


def test_records_hold_the_tracked_names_and_nothing_else(bert: str) -> None:
    made = federation(bert, validation_examples=8)
    evaluated = {
        f"{split}/{name}"
        for split in ("test", "validation")
        for name in ("accuracy", "loss", "top_class_share")
    } | {"time/eval_s"}
    trained = {
        "train/loss",
        "clients/drift",
        "clients/agreement",
        "server/update_norm",
        "time/round_s",
        "throughput/examples_per_s",
    }
    always = {"round", "steps/sequential", "comm/bytes", "params_digest"}
    assert set(made.round_zero()) == always | evaluated
    assert set(made.round(1, evaluates=True)) == always | evaluated | trained
    assert set(made.round(2, evaluates=False)) == always | trained


def test_steps_and_traffic_are_cumulative(bert: str) -> None:
    made = federation(bert)
    records = [made.round_zero(), made.round(1, True), made.round(2, False)]
    assert [record["steps/sequential"] for record in records] == [0, 3, 6]
    once = 2 * 3 * 4 * made.flat.num_parameters  # up and down, 3 clients, 4 bytes each
    assert [record["comm/bytes"] for record in records] == [0, once, 2 * once]


def test_a_single_client_has_no_traffic_and_no_agreement(bert: str) -> None:
    made = federation(bert, clients=1)
    made.round_zero()
    record = made.round(1, True)
    assert record["comm/bytes"] == 0
    assert record["steps/sequential"] == 7  # 26 examples in batches of 4
    assert "clients/agreement" not in record


def test_the_digest_is_that_of_the_servers_model(bert: str) -> None:
    made = federation(bert)
    assert made.round_zero()["params_digest"] == digest(made.server.params)
    before = made.server.params.clone()
    assert made.round(1, True)["params_digest"] == digest(made.server.params) != digest(before)


def test_the_partition_is_described_with_all_its_labels(bert: str) -> None:
    made = federation(bert)
    told = made.partition
    assert told["label_names"] == ["weather", "cooking"]
    labels = made.splits["train"].labels
    for client, examples in zip(told["clients"], made.clients, strict=True):
        assert client["num_examples"] == len(examples) == sum(client["labels"])
        assert client["labels"][1] == int(labels[examples].sum())
    assert [client["client_id"] for client in told["clients"]] == [0, 1, 2]


def test_without_an_attention_mask_all_batches_have_max_length(bert: str) -> None:
    made = federation(bert, attention_mask=False)
    for split in made.splits.values():
        batch = split.batch(torch.arange(3))
        assert batch.packing.lengths.tolist() == [32] * 3


def heads(made: Federation, values: torch.Tensor) -> torch.Tensor:
    return torch.cat([values[made.flat.slices[name]] for name in head_names(made.flat.model)])


def test_with_heads_of_their_own_the_server_starts_from_their_weighted_mean(bert: str) -> None:
    shared = federation(bert)
    apart = federation(bert, head_init="per_client")
    drawn = []
    for client_id in range(3):
        draw_head(apart.flat.model, 0, "client", client_id)
        drawn.append(heads(apart, apart.flat.values).clone())
    mean = (9 * drawn[0] + 9 * drawn[1] + 8 * drawn[2]) / 26
    assert (heads(apart, apart.server.params) - mean).abs().max() < 1e-6
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(heads(shared, shared.server.params), heads(apart, apart.server.params))
    encoder = slice(0, apart.flat.slices["classifier.weight"].start)
    assert torch.equal(shared.server.params[encoder], apart.server.params[encoder])


def test_with_heads_of_their_own_clients_start_from_them_in_round_one_only(
    bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = federation(bert, head_init="per_client")
    seen: list[torch.Tensor] = []

    def train(flat: Any, *arguments: Any) -> tuple[float, int]:
        seen.append(flat.values.clone())
        return train_client(flat, *arguments)

    monkeypatch.setattr("fedtune.federated.clients.train_client", train)
    first = made.server.params.clone()
    made.round(1, evaluates=False)
    second = made.server.params.clone()
    made.round(2, evaluates=False)

    for client_id, start in enumerate(seen[:3]):
        draw_head(made.flat.model, 0, "client", client_id)
        assert torch.equal(heads(made, start), heads(made, made.flat.values))
        encoder = slice(0, made.flat.slices["classifier.weight"].start)
        assert torch.equal(start[encoder], first[encoder])
    assert all(torch.equal(start, second) for start in seen[3:])


def test_a_shared_head_is_where_all_clients_start(
    bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen = federation(bert), []

    def train(flat: Any, *arguments: Any) -> tuple[float, int]:
        seen.append(flat.values.clone())
        return train_client(flat, *arguments)

    monkeypatch.setattr("fedtune.federated.clients.train_client", train)
    first = made.server.params.clone()
    made.round(1, evaluates=False)
    assert len(seen) == 3
    assert all(torch.equal(start, first) for start in seen)


@pytest.mark.parametrize("name", ["bert", "albert", "distilbert"])
def test_a_saved_server_is_a_hugging_face_directory_and_loads_back(
    name: str, tiny: Path, tmp_path: Path
) -> None:
    made = federation(str(tiny / name))
    record = made.round(1, evaluates=False)
    trained = made.server.params.clone()
    made.save(tmp_path)
    assert torch.equal(made.server.params, trained)
    assert not list(tmp_path.glob("*.bin"))

    again = federation(str(tiny / name))
    again.load(tmp_path, record)
    assert torch.equal(again.server.params, trained)

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert model.config.id2label == {0: "weather", 1: "cooking"}
    parameters = dict(model.named_parameters())
    for key, part in made.flat.slices.items():
        assert torch.equal(parameters[key].detach().flatten(), trained[part]), key
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {
        torch.float32
    }
    assert (tmp_path / "tokenizer.json").is_file()


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_saved_server_may_be_read_by_whom_the_umask_says(
    mask: int, bert: str, tmp_path: Path
) -> None:
    made = federation(bert)
    before = os.umask(mask)
    try:
        made.save(tmp_path)
    finally:
        os.umask(before)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not any(name.startswith(".") for name in names)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}


def test_a_model_other_than_the_logged_one_is_refused(bert: str, tmp_path: Path) -> None:
    made = federation(bert)
    record = made.round_zero()
    made.save(tmp_path)
    with pytest.raises(ValueError, match="does not hold the model of the last logged round"):
        made.load(tmp_path, record | {"params_digest": "0" * 16})


class Counts(nn.Module):
    """Something that training changes and that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x


def test_buffers_that_training_changes_are_refused(bert: str) -> None:
    made = federation(bert)
    model = made.flat.model
    model.classifier = nn.Sequential(Counts(), model.classifier)
    made._buffers = made.flat.buffers_digest()
    with pytest.raises(RuntimeError, match="changed the model's buffers"):
        made.round(1, evaluates=False)


def test_a_loss_that_only_the_evaluation_shows_diverges_and_keeps_the_server(bert: str) -> None:
    """The last step of a round may leave parameters that are finite and far too large."""
    made = federation(bert, clients=1, batch_size=26, learning_rate=1e15)
    before = made.server.params.clone()
    with pytest.raises(Diverged, match=r"round 1 in the server.s model"):
        made.round(1, evaluates=True)
    assert torch.equal(made.server.params, before)


def test_another_seed_is_another_head_partition_and_order(bert: str) -> None:
    first, second = federation(bert, seed=0), federation(bert, seed=1)
    assert not torch.equal(first.server.params, second.server.params)
    assert any(not torch.equal(a, b) for a, b in zip(first.clients, second.clients, strict=True))


def test_speed_is_measured_on_as_few_texts_as_there_are(bert: str) -> None:
    assert all(rate > 0 for rate in measure(federation(bert, test_examples=1), 3))


def test_speed_is_measured_without_a_trace(bert: str) -> None:
    made, twin = federation(bert), federation(bert)
    trained, evaluated = measure(made, 2)
    assert trained > 0
    assert evaluated > 0
    assert timeless(made.round(1, True)) == timeless(twin.round(1, True))


@pytest.mark.parametrize("name", ["bert", "albert", "distilbert"])
def test_a_checkpoint_continues_with_or_without_padding(
    name: str, without_dropout: Path, tmp_path: Path
) -> None:
    """Which way the batches go is no part of the model."""
    model, ends = str(without_dropout / name), []
    begun = federation(model, precision="fp32")
    record = begun.round(1, evaluates=True)
    begun.save(tmp_path)
    for forward in (PackedForward, PaddedForward):
        made = federation(model, precision="fp32")
        made.flat.forward = forward(made.flat.model, "fp32")
        made.load(tmp_path, record)
        made.round(2, evaluates=False)
        ends.append(made.server.params.clone())
    step = ends[0] - begun.server.params
    assert (ends[1] - ends[0]).norm() < 1e-3 * step.norm()


def test_bf16_follows_the_curve_of_fp32(without_dropout: Path) -> None:
    """With the same batches and no dropout, so that nothing differs but rounding."""
    losses = {}
    for precision in ("fp32", "bf16"):
        made = federation(str(without_dropout / "bert"), precision=precision)
        rounds = [made.round(n, evaluates=True) for n in (1, 2, 3)]
        losses[precision] = [(r["train/loss"], r["test/loss"]) for r in rounds]
        assert made.server.params.dtype == torch.float32
    assert torch.tensor(losses["bf16"]).allclose(torch.tensor(losses["fp32"]), rtol=0.02)
    assert losses["bf16"] != losses["fp32"]


def test_a_trial_gives_the_same_bits_again_in_either_precision(bert: str) -> None:
    for precision in ("fp32", "bf16"):
        digests = set()
        for _ in range(2):
            made = federation(bert, precision=precision)
            digests.add(made.round(1, evaluates=False)["params_digest"])
        assert len(digests) == 1
