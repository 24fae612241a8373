"""What identifies a tokenizer, and texts to token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedtune.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH = 1_000  # texts at once: enough to keep all cores busy, little enough to show progress

_WHOLE = "tokenizer.json"
# Older formats, read where there is no tokenizer.json.
_VOCABULARIES = (
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model"),
    *("spm.model", "sentencepiece.model", "sentencepiece.bpe.model", "bpe.codes"),
    *("entity_vocab.json", "word_shape.json", "word_pronunciation.json"),
)
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")

#: Every file that a tokenizer may consist of: what is downloaded, copied and hashed.
TOKENIZER_FILES = (_WHOLE, *_VOCABULARIES, *_SETTINGS)

# Tokenizers of characters or bytes, which have no file with a vocabulary.
_WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer")

# Parts of these files that have no bearing on the ids of truncated texts.
_WITHOUT_EFFECT = frozenset(
    (
        "name_or_path",
        "model_max_length",
        "max_length",
        "model_input_names",
        "padding",
        "padding_side",
        "pad_to_multiple_of",
        "pad_token_type_id",
        "special_tokens_map_file",
        "tokenizer_file",
        "transformers_version",
        "cache_dir",
        "is_local",
        "local_files_only",
        "clean_up_tokenization_spaces",
        "chat_template",
        "truncation",
        "stride",
        "backend",
    )
)


def has_tokenizer(directory: Path) -> bool:
    """Is there a file that could hold a vocabulary, or a tokenizer that needs none?"""
    if any((directory / name).is_file() for name in (_WHOLE, *_VOCABULARIES)):
        return True
    settings = directory / "tokenizer_config.json"
    text = settings.read_text(encoding="utf-8", errors="replace") if settings.is_file() else ""
    return any(f'"{kind}"' in text for kind in _WITHOUT_VOCABULARY)


def tokenizer_hash(directory: Path) -> str:
    """SHA-256 (hex) of what decides which ids a text gets; equal for models that share a tokenizer.

    Reads the tokenizer's files only, never the weights, and imports no library. Raises BadInput
    (field ``model``) where there is no tokenizer or a file is damaged.
    """
    if not has_tokenizer(directory):
        raise BadInput.of(
            "model", str(directory), "has no tokenizer (tokenizer.json, vocab.txt or spiece.model)"
        )
    whole = directory / _WHOLE
    vocabularies = [whole] if whole.is_file() else [directory / name for name in _VOCABULARIES]
    digest = hashlib.sha256()
    for path in vocabularies:
        if path.is_file():
            raw = _canonical(path) if path.suffix == ".json" else path.read_bytes()
            digest.update(f"{path.name}:{len(raw)}:".encode() + raw)
    for name in _SETTINGS:
        if (directory / name).is_file():
            digest.update(f"{name}:".encode() + _canonical(directory / name))
    return digest.hexdigest()


def _canonical(path: Path) -> bytes:
    """A JSON file without layout, and without what has no effect on token ids."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput.of("model", str(path.parent), f"{path.name} is damaged: {error}") from error
    if isinstance(content, dict):
        content = {key: value for key, value in content.items() if key not in _WITHOUT_EFFECT}
        kind = content.get("tokenizer_class")
        if isinstance(kind, str):  # DistilBERT's is BERT's under another name
            content["tokenizer_class"] = kind.removesuffix("Fast").replace("DistilBert", "Bert")
    return json.dumps(content, sort_keys=True).encode()


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model's directory; no network, no code of the directory's own.

    Raises BadInput (field ``model``) where it cannot be loaded or has no padding token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # files by strangers: whatever they make transformers raise
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise BadInput.of(
            "model", str(directory), f"its tokenizer cannot be loaded: {reason}"
        ) from error
    if tokenizer.pad_token_id is None:
        raise BadInput.of(
            "model",
            str(directory),
            "its tokenizer has no padding token; give it one (`tokenizer.pad_token = "
            "tokenizer.eos_token`) and save it once more with tokenizer.save_pretrained(directory)",
        )
    loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def pads_left(directory: Path) -> bool:
    """Whether the tokenizer of a model's directory puts padding before a text."""
    return bool(load_tokenizer(directory).padding_side == "left")


def gives_types(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether its model is told to which text of a pair a token belongs (BERT's, not RoBERTa's)."""
    return "token_type_ids" in tokenizer.model_input_names


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids int32 (total,), where each example begins int64 (n + 1,), and to which text of a
    pair every token belongs, uint8 (total,): None where the tokenizer does not tell.
    """

    token_ids: np.ndarray
    offsets: np.ndarray
    token_types: np.ndarray | None


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    seconds: Sequence[str] | None,
    max_length: int,
    bar: Any,
) -> Encoded:
    """Return the token ids of all texts, or of all pairs of ``texts`` and ``seconds``.

    An example has at most ``max_length`` ids, special tokens included; an empty one has only those,
    or none where the tokenizer adds none.
    Of a pair that is too long the longer text is cut, token by token. The tokenizer itself uses all
    cores for a batch (``TOKENIZERS_PARALLELISM=false`` forbids it), which is why no processes are
    started here.
    """
    pieces: list[np.ndarray] = []
    types: list[np.ndarray] = []
    lengths: list[int] = []
    for start in range(0, len(texts), BATCH):
        batch = list(texts[start : start + BATCH])
        found = tokenizer(
            batch,
            None if seconds is None else list(seconds[start : start + BATCH]),
            truncation=True,  # longest first
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=seconds is not None and gives_types(tokenizer),
        )
        lengths += map(len, found["input_ids"])
        pieces.append(_end_to_end(found["input_ids"], np.int32))
        if "token_type_ids" in found:
            types.append(_end_to_end(found["token_type_ids"], np.uint8))
        bar.update(len(batch))
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Encoded(np.concatenate(pieces), offsets, np.concatenate(types) if types else None)


def _end_to_end(examples: Sequence[Sequence[int]], dtype: Any) -> np.ndarray:
    return np.concatenate([np.asarray(example, dtype=dtype) for example in examples])
