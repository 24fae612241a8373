"""Models of 2 layers that are quick to train, with a tokenizer of toy's words."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from word_pieces import tokenizer_of

from fedtune.data import toy

WIDTH = 32
POSITIONS = 32


def build_models(folder: Path) -> None:
    """Write bert, albert and distilbert, 2 layers wide 32, with a tokenizer of toy's words.

    Weights are spread ten times wider than usual, so that plain SGD moves them within a few rounds.
    """
    tokenizer = _tokenizer()
    shared = {"vocab_size": len(tokenizer), "initializer_range": 0.3}
    bert = {
        "num_hidden_layers": 2,
        "hidden_size": WIDTH,
        "num_attention_heads": 2,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": POSITIONS,
    }
    distil = {
        "n_layers": 2,
        "dim": WIDTH,
        "n_heads": 2,
        "hidden_dim": 2 * WIDTH,
        "max_position_embeddings": POSITIONS,
    }
    torch.manual_seed(0)
    built: dict[str, PreTrainedModel] = {
        "bert": BertModel(BertConfig(**shared, **bert)),
        "albert": AlbertModel(AlbertConfig(**shared, **bert, embedding_size=WIDTH // 2)),
        "distilbert": DistilBertModel(DistilBertConfig(**shared, **distil)),
    }
    for name, model in built.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def _tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for text, _ in toy.load()[0] for word in text.split()})
    return tokenizer_of(words, pre_tokenizers.Whitespace())
