"""Batches of passages: bucketed by length, masked, and split into pairs for the order task."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedtune.data.packing import Packing

from .vocabulary import CLS, MASK, MAX_LENGTH, NUM_PIECES, SEP, SPECIAL_PIECES

TOKENS_PER_BATCH = 8192
_BUCKET = 4096  # passages sorted by length together, so that a batch is of like lengths
_MASK_SHARE = 0.15
_FULL_STOP = "."

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """Tokenised passages and the teacher's embeddings of them.

    `ids` end to end, `offsets` (passages + 1), `targets` (passages, 384) float16, `rows` the
    passages that belong to this part, `full_stop` the id of ".".
    """

    ids: NDArray[np.uint16]
    offsets: NDArray[np.int64]
    targets: NDArray[np.float16]
    rows: NDArray[np.int64]
    full_stop: int

    @classmethod
    def load(cls, work: Path, *, held_out: bool) -> "Corpus":
        """Load the training or the held-out part from a work folder."""
        from tokenizers import Tokenizer

        with np.load(work / "tokens.npz") as tokens:
            ids, offsets, flags = tokens["ids"], tokens["offsets"], tokens["held_out"]
        targets = np.load(work / "teacher.npy", mmap_mode="r")
        tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
        full_stop: int = tokenizer.get_vocab()[_FULL_STOP]
        return cls(ids, offsets, targets, np.flatnonzero(flags == held_out), full_stop)

    def passage(self, row: int) -> Ids:
        """Ids of one passage, `[CLS]` and `[SEP]` included."""
        return self.ids[self.offsets[row] : self.offsets[row + 1]].astype(np.int64)


@dataclass(frozen=True)
class Batch:
    """One step's input: texts end to end, `ids` and `types` (tokens,), where they lie in `packing`.

    `targets` (batch, 384); `has_target` (batch,), False where two texts were mixed;
    `order` (batch,), 0 in order and 1 not, or None; `positions` (masked,), indices into `ids`, and
    `labels` (masked,), what stood there.
    """

    ids: Tensor
    packing: Packing
    types: Tensor
    targets: Tensor
    has_target: Tensor
    order: Tensor | None
    positions: Tensor
    labels: Tensor


def schedule(
    corpus: Corpus, seed: int, start: int = 0, tokens: int = TOKENS_PER_BATCH
) -> Iterator[tuple[int, Ids]]:
    """Yield (step, rows) without end from `start`: batches of about `tokens`, at most.

    Every epoch sees each passage once.

    Each step depends on (seed, step) alone, so that a resumed run sees the same batches.
    """
    lengths = np.diff(corpus.offsets)
    step, epoch = 0, 0
    while True:
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(corpus.rows)
        groups: list[Ids] = []
        for at in range(0, len(order), _BUCKET):
            bucket = order[at : at + _BUCKET]
            bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
            first = 0
            while first < len(bucket):
                # Sorted: the last passage of a group is its longest. Grow by the next length.
                last = first + 1
                while last < len(bucket) and (last + 1 - first) * lengths[bucket[last]] <= tokens:
                    last += 1
                groups.append(bucket[first:last])
                first = last
        for index in generator.permutation(len(groups)):
            if step >= start:
                yield step, groups[index]
            step += 1
        epoch += 1


def _split(ids: Ids, full_stop: int) -> int:
    """Where the second half begins: after the full stop nearest to the middle, or the middle."""
    middle = len(ids) // 2
    stops = np.flatnonzero(ids[2:-2] == full_stop) + 3
    return int(stops[np.argmin(np.abs(stops - middle))]) if len(stops) else middle


def _pairs(
    passages: list[Ids], task: str, full_stop: int, generator: np.random.Generator
) -> tuple[list[Ids], list[int], NDArray[np.int64]]:
    """Make two-segment inputs; return ids, lengths of the first segments, and order labels."""
    halves = []
    for ids in passages:
        at = _split(ids, full_stop)
        halves.append((ids[1:at], ids[at:-1]))
    order = generator.integers(0, 2, len(halves))
    wrong = np.flatnonzero(order)
    if task == "next" and len(wrong) < 2:
        order[:] = 0
        wrong = wrong[:0]
    partner = dict(zip(wrong.tolist(), np.roll(wrong, 1).tolist(), strict=True))
    joined, firsts = [], []
    for index, (a, b) in enumerate(halves):
        if index in partner:
            a, b = (b, a) if task == "swap" else (a, halves[partner[index]][1])
        b = b[: MAX_LENGTH - len(a) - 3]
        joined.append(np.concatenate([[CLS], a, [SEP], b, [SEP]]))
        firsts.append(len(a) + 2)
    return joined, firsts, order


def make(corpus: Corpus, rows: Ids, task: str | None, key: list[int], *, masked: bool) -> Batch:
    """Build the batch of `rows`; `key` seeds masking and pairing.

    `task`: None for single texts, "next" for BERT's next sentence (half of the second segments
    come from another passage), "swap" for ALBERT's sentence order (half are swapped).
    """
    generator = np.random.default_rng(key)
    passages = [corpus.passage(int(row)) for row in rows]
    firsts, order = None, None
    has_target = np.ones(len(rows), dtype=bool)
    if task is not None:
        passages, firsts, order = _pairs(passages, task, corpus.full_stop, generator)
        if task == "next":
            has_target = order == 0
    ids = np.concatenate(passages)
    types = np.zeros_like(ids)
    lengths = np.array([len(passage) for passage in passages])
    if firsts is not None:
        starts = np.cumsum(lengths) - lengths
        for start, first, length in zip(starts, firsts, lengths, strict=True):
            types[start + first : start + length] = 1
    positions, labels = _mask(ids, generator) if masked else (np.empty(0, np.int64),) * 2
    return Batch(
        ids=torch.from_numpy(ids),
        packing=Packing(torch.from_numpy(lengths)),
        types=torch.from_numpy(types),
        targets=torch.from_numpy(corpus.targets[rows].astype(np.float32)),
        has_target=torch.from_numpy(has_target),
        order=None if order is None else torch.from_numpy(order),
        positions=torch.from_numpy(positions),
        labels=torch.from_numpy(labels),
    )


def _mask(ids: Ids, generator: np.random.Generator) -> tuple[Ids, Ids]:
    """Mask 15 % of the ordinary tokens of `ids` in place, BERT's way; return where and what.

    Of these 80 % become `[MASK]`, 10 % a random piece and 10 % stay (Devlin et al. 2019, 3.1).
    """
    ordinary = np.flatnonzero(ids >= len(SPECIAL_PIECES))
    positions = ordinary[generator.random(len(ordinary)) < _MASK_SHARE]
    labels = ids[positions].copy()
    fate = generator.random(len(positions))
    ids[positions[fate < 0.8]] = MASK
    shuffled = positions[fate >= 0.9]
    ids[shuffled] = generator.integers(len(SPECIAL_PIECES), NUM_PIECES, len(shuffled))
    return positions, labels
