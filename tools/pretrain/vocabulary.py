"""The shared WordPiece vocabulary: 8,000 pieces of the teacher's, most frequent first.

A subset of the teacher's vocabulary makes the start of the token embeddings exact: each piece
has its teacher's vector. Words that lose their piece fall apart into smaller ones, and because
every single character is kept, nothing becomes unknown that was known to the teacher.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
NUM_PIECES = 8000
MAX_LENGTH = 128
# Half of a piece's score is its frequency in the passages, half the frequency that its rank in
# the teacher's vocabulary stands for (BERT's is sorted by frequency in Wikipedia and books): the
# passages alone would know films and constitutions but not broadband.
_PRIOR_SHARE = 0.5


def choose_pieces(teacher_vocab: dict[str, int], counts: Counter[int]) -> list[str]:
    """Return the specials and the best of the teacher's pieces, `NUM_PIECES` in all."""
    ordinary = [
        (index, piece)
        for piece, index in sorted(teacher_vocab.items(), key=lambda item: item[1])
        if not piece.startswith("[") or len(piece) == 1
    ]
    total = sum(counts.values())
    zipf = 1.0 / np.arange(100, 100 + len(ordinary))
    zipf /= zipf.sum()
    scores = {
        piece: (1 - _PRIOR_SHARE) * counts[index] / total + _PRIOR_SHARE * float(prior)
        for (index, piece), prior in zip(ordinary, zipf, strict=True)
    }
    # Characters outside Latin-1 occur in no text that these models are for.
    single = [p for p in scores if len(p.removeprefix("##")) == 1 and ord(p[-1]) < 256]
    ranked = sorted(scores, key=lambda piece: (-scores[piece], piece))
    pieces = dict.fromkeys([*SPECIAL_PIECES, *sorted(single)])
    for piece in ranked:
        if len(pieces) == NUM_PIECES:
            break
        if piece.isascii():
            pieces[piece] = None
    return list(pieces)


def build_tokenizer(pieces: Sequence[str]) -> Tokenizer:
    """Return BERT's uncased WordPiece tokenizer over `pieces`."""
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return tokenizer


def save(pieces: Sequence[str], teacher_vocab: dict[str, int], out: Path) -> None:
    """Write the tokenizer as a Hugging Face directory and the teacher's id of each piece."""
    from transformers import PreTrainedTokenizerFast

    # Without types in some releases: as Any, both kinds of checker are content.
    fast: Any = PreTrainedTokenizerFast
    wrapped = fast(
        tokenizer_object=build_tokenizer(pieces),
        model_max_length=512,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    wrapped.save_pretrained(out)
    (out / "teacher_ids.json").write_text(json.dumps([teacher_vocab[p] for p in pieces]))


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[int]]:
    for start in range(0, len(texts), 2000):
        for encoding in tokenizer.encode_batch(texts[start : start + 2000]):
            yield encoding.ids


def count_pieces(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[int]:
    """Count the piece ids that `tokenizer` makes of `texts`."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    counts: Counter[int] = Counter()
    for ids in _encoded(tokenizer, texts):
        counts.update(ids)
    return counts


def tokenize(
    tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Return all ids end to end and the offsets of the texts in them, `len(texts) + 1`.

    At most 128 ids each, `[CLS]` and `[SEP]` included.
    """
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    lists = list(_encoded(tokenizer, texts))
    lengths = np.array([0, *map(len, lists)], dtype=np.int64)
    flat = np.fromiter((i for ids in lists for i in ids), dtype=np.uint16)
    return flat, np.cumsum(lengths)
