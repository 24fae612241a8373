"""Passages: short runs of sentences cut from documents, with a held-out part fixed by a hash."""

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .sources import READERS

_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
# Words a passage aims at. Mixed, because what the models are fine-tuned on is: headlines of ten
# words, reviews of hundreds. 128 pieces, the longest input used, are about 95 words.
_TARGET_WORDS = (12, 25, 45, 70, 95)
HELD_OUT_PER_MILLE = 20


@dataclass(frozen=True)
class Source:
    """Where documents come from: a short name, a reader's name, a path, the most passages."""

    name: str
    reader: str
    path: Path
    limit: int

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read `NAME:READER:LIMIT:PATH`, e.g. `speeches:texts:11000:DIR`."""
        name, reader, limit, path = text.split(":", 3)
        if reader not in READERS:
            raise ValueError(f"source {name}: reader {reader!r} is none of {', '.join(READERS)}")
        return cls(name, reader, Path(path), int(limit))


def cut(document: str, generator: random.Random) -> Iterator[str]:
    """Yield passages of `document`: whole sentences up to a random number of words.

    A sentence longer than its passage's aim makes a passage of its own, cut at 95 words.
    """
    current: list[str] = []
    aim = generator.choice(_TARGET_WORDS)
    for sentence in _SENTENCE.split(document):
        words = sentence.split()
        if current and len(current) + len(words) > aim:
            yield " ".join(current)
            current, aim = [], generator.choice(_TARGET_WORDS)
        current = (current + words)[: _TARGET_WORDS[-1]]
    if current:
        yield " ".join(current)


def is_held_out(passage: str) -> bool:
    """Whether `passage` belongs to the part that is never trained on (2 %, by a hash)."""
    digest = hashlib.sha256(passage.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 1000 < HELD_OUT_PER_MILLE


def collect(sources: Sequence[Source], most: int, out: Path) -> dict[str, int]:
    """Write at most `most` passages of all sources to `out` (JSON lines); return their counts.

    The order is random. Where a source has more than its limit, a random part is kept. Exact
    duplicates and passages of fewer than six words are dropped. The same input gives the same
    file.
    """
    chosen: list[tuple[str, str]] = []
    seen: set[str] = set()
    for source in sources:
        generator = random.Random(source.name)
        passages = []
        for document in READERS[source.reader](source.path):
            for passage in cut(document, generator):
                if passage not in seen and len(passage.split()) >= 6:
                    seen.add(passage)
                    passages.append(passage)
        generator.shuffle(passages)
        chosen.extend((source.name, passage) for passage in passages[: source.limit])
    random.Random("order").shuffle(chosen)
    del chosen[most:]
    partial = out.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        for name, passage in chosen:
            line = {"source": name, "text": passage, "held_out": is_held_out(passage)}
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    if out.exists() and out.read_bytes() != partial.read_bytes():
        partial.unlink()
        raise SystemExit(
            f"{out} holds other passages, from which what lies beside it was made: use a new folder"
        )
    partial.replace(out)
    return dict(Counter(name for name, _ in chosen))


def load(path: Path) -> tuple[list[str], list[bool]]:
    """Return the texts of a passages file and, aligned, whether each is held out."""
    with path.open(encoding="utf-8") as stream:
        lines = [json.loads(line) for line in stream]
    return [line["text"] for line in lines], [line["held_out"] for line in lines]
