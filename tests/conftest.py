"""Fixtures for all tests: no network, caches of their own, one thread, models of 2 layers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

# Before anything imports a library that reads these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Two tests run side by side: a thread that waits for another by spinning keeps the core from the
# other test, and a trial of two threads then takes ten times as long.
os.environ["OMP_WAIT_POLICY"] = "passive"
for _name in ("FEDTUNE_DATA", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
    os.environ.pop(_name, None)

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
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

from fedtune.data import toy

#: Fixtures for tests of plans and launches.
pytest_plugins = ["launches"]

WIDTH = 32
POSITIONS = 32


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Several threads on tiny tensors cost more than they give, most of all on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens are cached once per test session, away from the user's cache."""
    cache = tmp_path_factory.mktemp("cache")
    os.environ["FEDTUNE_CACHE"] = str(cache)
    return cache


def build_models(folder: Path) -> Path:
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
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    words = sorted({word for text, _ in toy.load()[0] for word in text.split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {piece: index for index, piece in enumerate([*special, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models of :func:`build_models`."""
    return build_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def bert(tiny: Path) -> str:
    """The directory of the tiny BERT."""
    return str(tiny / "bert")


@pytest.fixture(scope="session")
def without_dropout(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models with every dropout rate of their configuration at 0."""
    folder = tmp_path_factory.mktemp("without dropout")
    for source in tiny.iterdir():
        made = Path(shutil.copytree(source, folder / source.name))
        config = json.loads((made / "config.json").read_text())
        rates = [key for key in config if "dropout" in key]
        assert rates
        config |= dict.fromkeys([*rates, "classifier_dropout_prob", "seq_classif_dropout"], 0.0)
        (made / "config.json").write_text(json.dumps(config))
    return folder
