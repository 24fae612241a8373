"""Every kind of text classifier that transformers has: from a pretrained model to a pipeline."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import KINDS, build
from transformers import AutoTokenizer, pipeline
from trials import quick

from fedtune import simulate
from fedtune.data import toy
from fedtune.data.batches import Batch, DeviceSplit
from fedtune.data.token_arrays import Split
from fedtune.errors import BadInput
from fedtune.models.classifier import drawn_anew, head_names, load_classifier
from fedtune.models.configuration import BY_LENGTH, REFUSED, WITHOUT_BF16, padding_of
from fedtune.models.forward import forward_of
from fedtune.trial.federation import Federation
from fedtune.trial.prepare import prepare

TRAINED = [kind for kind in KINDS if kind not in REFUSED]
#: One or two of each way to attend, to pad, to find a text's end, and to keep a head; the others
#: are marked slow.
QUICK = (
    *(
        "albert",
        "bart",
        "bert",
        "big_bird",
        "convbert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "fnet",
        "gpt2",
    ),
    *("gemma3", "mixtral", "modernbert", "mpnet", "qwen2", "roberta", "t5", "xlm", "xlnet"),
)
LABELS = ("a", "b", "c")
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3}


def one_of_each(kinds: list[str]) -> list[Any]:
    marks = {kind: () if kind in QUICK else (pytest.mark.slow,) for kind in kinds}
    return [pytest.param(kind, marks=marks[kind]) for kind in kinds]


@pytest.fixture
def pretrained(tiny: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Write a tiny model as pretraining leaves it, without a classifier's head."""

    def write(kind: str) -> Path:
        folder = tmp_path / "model"
        model = build(kind, folder, vocab_size=64, sep_token_id=3, **SPECIAL)
        model.base_model.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(tiny / "bert")
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        tokenizer.save_pretrained(folder)
        # Some kinds have a class of tokenizers that reads the same files in another way.
        edit(folder / "tokenizer_config.json", made_for=kind)
        return folder

    return write


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def texts() -> Batch:
    """Five texts of four lengths, with a first and a last token as tokenizers give them."""
    lengths = [4, 7, 7, 12, 20]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.random.default_rng(0).integers(5, 40, offsets[-1]).astype(np.int32)
    ids[offsets[:-1]], ids[offsets[1:] - 1] = SPECIAL["cls_token_id"], SPECIAL["eos_token_id"]
    split = Split(ids, offsets, np.zeros(len(lengths), dtype=np.int64))
    device = torch.device("cpu")
    whole = DeviceSplit(split, num_classes=3, pad_token_id=0, pad_to=None, device=device)
    return whole.batch(torch.arange(len(lengths)))


@pytest.mark.parametrize("kind", one_of_each(TRAINED))
def test_a_trial_of_every_kind(kind: str, pretrained: Any, tmp_path: Path) -> None:
    """Loads, trains a round, is saved, goes on from there, and answers in a pipeline: each text
    alone with the scores that it has among others.
    """
    config = quick(pretrained(kind))
    records = list(simulate(config, store=tmp_path / "store"))
    assert [record["round"] for record in records] == [0, 1]
    assert records[1]["server/update_norm"] > 0
    (checkpoint,) = (tmp_path / "store").glob("*/checkpoint")

    federation = Federation(prepare(config))
    federation.load(checkpoint, records[1])
    flat, data = federation.flat, federation.splits["test"]
    flat.model.eval()
    batch = data.batch(torch.arange(len(data)))
    assert len(set(batch.packing.lengths.tolist())) > 1
    with torch.inference_mode():
        scores = flat.forward(batch).softmax(dim=-1)

    answer = pipeline("text-classification", model=str(checkpoint), top_k=None)
    assert answer.model.config.id2label == dict(enumerate(toy.LABEL_NAMES))
    for ids, ours in zip(
        batch.token_ids.split(batch.packing.lengths.tolist()), scores, strict=True
    ):
        text = answer.tokenizer.decode(ids[1:-1])
        assert answer.tokenizer(text)["input_ids"] == ids.tolist()
        theirs = {each["label"]: each["score"] for each in answer([text])[0]}
        expected = [theirs[label] for label in answer.model.config.id2label.values()]
        torch.testing.assert_close(ours, torch.tensor(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", one_of_each(TRAINED))
def test_scores_do_not_depend_on_the_batch(kind: str, pretrained: Any) -> None:
    """With parameters far from their first values, that of padding among them."""
    model = load_classifier(pretrained(kind), label_names=LABELS, seed=0).eval()
    torch.manual_seed(0)
    with torch.inference_mode():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        batch = texts()
        together = forward_of(model)(batch)
        each = batch.token_ids.long().split(batch.packing.lengths.tolist())
        alone = torch.cat([model(input_ids=ids[None]).logits for ids in each])
        if kind in BY_LENGTH:  # else they need not be there
            ids, mask = batch.padded(model.config.pad_token_id)
            padded = model(input_ids=ids, attention_mask=mask).logits
            assert not torch.allclose(padded, alone, rtol=0, atol=1e-3 * alone.std().item())
    close = 1e-4 * alone.std().item()
    assert alone.std(0).min() > 10 * close, "texts have scores of their own"
    torch.testing.assert_close(together, alone, rtol=0, atol=close)


@pytest.mark.parametrize("kind", one_of_each(TRAINED))
def test_products_may_be_in_bf16(kind: str, pretrained: Any) -> None:
    """Where transformers' code allows it; where it does not, `auto` knows."""
    model = load_classifier(pretrained(kind), label_names=LABELS, seed=0).train()
    if kind in WITHOUT_BF16:
        with pytest.raises(RuntimeError, match="BFloat16"):
            forward_of(model, "bf16")(texts())
        return
    scores = forward_of(model, "bf16")(texts())
    assert scores.dtype == torch.float32
    scores.logsumexp(-1).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("kind", ["deberta", "xmod"])
def test_auto_is_fp32_where_an_architecture_has_no_bf16(
    kind: str, pretrained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtune.trial.settling.has_bf16", lambda device: True)
    folder = pretrained(kind)
    assert prepare(quick(folder)).config.precision == "fp32"
    assert prepare(quick(folder, precision="fp32")).config.precision == "fp32"
    with pytest.raises(BadInput, match=rf"^precision='bf16': .*{kind}.*allowed is 'fp32'"):
        prepare(quick(folder, precision="bf16"))


@pytest.mark.parametrize("kind", one_of_each(TRAINED))
def test_what_is_drawn_anew_is_what_transformers_misses(kind: str, pretrained: Any) -> None:
    """Told by headers alone, it is what loading finds; and the seed draws it, each time alike."""
    folder = pretrained(kind)
    models = [load_classifier(folder, label_names=LABELS, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (dict(model.named_parameters()) for model in models)
    names = head_names(models[0])
    assert tuple(dict.fromkeys(n.rpartition(".")[0] for n in names)) == drawn_anew(folder, 3)
    for name, parameter in first.items():
        assert torch.equal(parameter, again[name]), name
        is_drawn = name in names and bool(parameter.any()) and parameter.unique().numel() > 1
        assert torch.equal(parameter, other[name]) is not is_drawn, name


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_cannot_be_trained_is_refused_at_once_with_a_reason(
    kind: str, bert: str, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(bert, tmp_path / "model"))
    edit(model / "config.json", model_type=kind)
    with pytest.raises(BadInput, match=f"^model=.*model_type {kind} cannot be trained: ") as bad:
        prepare(quick(model))
    assert REFUSED[kind] in str(bad.value)


def test_every_kind_that_is_listed_is_one_of_transformers() -> None:
    assert BY_LENGTH | WITHOUT_BF16 | set(REFUSED) | set(QUICK) <= set(KINDS)
    assert not BY_LENGTH & set(REFUSED)


@pytest.mark.parametrize("summary", ["last", "cls_index", "first", "mean"])
@pytest.mark.parametrize("kind", ["xlm", "xlnet"])
def test_a_summary_of_the_users_own_is_no_matter_of_the_batch(
    kind: str, summary: str, pretrained: Any
) -> None:
    folder = pretrained(kind)
    edit(folder / "config.json", summary_type=summary)
    model = load_classifier(folder, label_names=LABELS, seed=0).eval()
    assert padding_of(model.config) != "right" or summary == "first"
    batch = texts()
    each = batch.token_ids.long().split(batch.packing.lengths.tolist())
    with torch.inference_mode():
        together = forward_of(model)(batch)
        alone = torch.cat([model(input_ids=ids[None]).logits for ids in each])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "config", "words"),
    [
        ("bart", {"eos_token_id": 60}, "must contain at least one <eos> token"),
        ("canine", {}, "of 3 and 3 tokens, of the train split: RuntimeError"),
        ("xmod", {"default_language": None}, "Input language unknown"),
    ],
)
def test_texts_that_an_architecture_cannot_read_are_told_before_anything_starts(
    kind: str, config: dict[str, Any], words: str, pretrained: Any, tmp_path: Path
) -> None:
    folder = pretrained(kind)
    edit(folder / "config.json", **config)
    lines = ["text,label", *(f"{word},{word}" for word in ("rain", "salt") * 20)]
    (tmp_path / "words.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(BadInput, match=rf"^model=.*does not classify texts .*{words}") as bad:
        next(simulate(quick(folder, dataset=str(tmp_path / "words.csv"))))
    assert "\n" not in str(bad.value)


@pytest.mark.parametrize("kind", ["big_bird", "bigbird_pegasus"])
def test_a_long_text_is_read_the_same_whatever_came_before(kind: str, pretrained: Any) -> None:
    """BigBird's own way is to leave its sparse attention for good once it has met a short text."""
    folder = pretrained(kind)
    edit(folder / "config.json", block_size=4, num_random_blocks=1)
    long, short = torch.arange(5, 57)[None] % 50 + 5, torch.tensor([[2, 9, 3]])
    long[0, -1] = SPECIAL["eos_token_id"]

    def read(*texts: torch.Tensor) -> torch.Tensor:
        model = load_classifier(folder, label_names=LABELS, seed=0).eval()
        with torch.inference_mode():
            return [model(input_ids=ids).logits for ids in texts][-1]

    torch.testing.assert_close(read(long), read(short, long), rtol=0, atol=0)
