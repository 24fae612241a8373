"""What the paper claims, as checks whose thresholds were fixed before any result was seen.

The text of the paper (Hilmkil et al. 2021) prints no accuracy figures, so that only shapes can be
compared; the thresholds are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedtune.analysis.paper.verdicts import Part, Verdict

#: C1, C9: "gradual" is that no doubling of K loses more than this part (section 4.1, Fig. 1, 3).
DOUBLING_LOSS = 1 / 3

#: C2: DistilBERT's steeper decline is that beyond this many clients (section 4.1, Fig. 1).
STEEP_BEYOND = 4

#: C5: the numbers of clients up to which most trials reach, and at which some do not (Fig. 2).
REACHES_UNTIL, FAILS_AT = 16, 32

#: C6, C7: DistilBERT fails at the second of these and not at the first (section 4.2, Fig. 2).
YELP_BETWEEN, IMDB_BETWEEN = (8, 16), (2, 4)

#: C8: a stretch at chance for part of a run is at least this share of its rounds (Fig. 3).
PART_OF_RUN = 0.10

#: C10: "scales well" is that this part of the accuracy above chance is kept at 32 (section 5).
KEPT, KEPT_AT = 0.5, 32

#: C10: peak memory "does not grow" where it is at most this part larger at 32 clients than at one.
#: The same trial's peak differs by a few percent from time to time, hence some room.
MEMORY_GROWTH = 0.10

#: C12: parameters in millions and layers (section 3.2), and how far from them a model may be.
SIZES = {"bert": (110, 12), "albert": (11, 12), "distilbert": (65, 6)}
SIZE_TOLERANCE = 0.10


@dataclass(frozen=True)
class Statement:
    """A claim of the paper, where it stands there, and how it is checked here."""

    number: str
    text: str
    source: str
    check: str


STATEMENTS = (
    Statement(
        "C1",
        "BERT and ALBERT decline gradually with more clients.",
        "section 4.1, Fig. 1",
        "Retention, (accuracy − chance) / (baseline − chance) at the budget, falls with log2 K, "
        "and no doubling of K loses more than a third of it.",
    ),
    Statement(
        "C2",
        "DistilBERT declines much more steeply past 4 clients, on all data sets.",
        "section 4.1, Fig. 1",
        "Its mean retention over K > 4 is below BERT's and ALBERT's on IMDB, AG News and Yelp.",
    ),
    Statement(
        "C3",
        "DistilBERT falls to chance on IMDB and on Yelp.",
        "section 4.1, Fig. 1",
        "On both, some K > 1 is within three binomial standard errors of chance at the budget, "
        "and K = 1 is not.",
    ),
    Statement(
        "C4",
        "Every model needs more rounds with more clients.",
        "section 4.2, Fig. 2",
        "Rounds to target never fall from one K to the next, and rise from the smallest to the "
        "largest K.",
    ),
    Statement(
        "C5",
        "BERT and ALBERT mostly reach the target until 32 clients.",
        "section 4.2, Fig. 2",
        "More than half of (model, data set, 1 < K ≤ 16) reach it within the cap, and some do not "
        "at K = 32.",
    ),
    Statement(
        "C6",
        "DistilBERT fails to reach the target on Yelp at 16 clients (so it succeeds at 8).",
        "section 4.2, Fig. 2",
        "The originals: at these K. Other models, the shape: some K ≤ 32 at which DistilBERT does "
        "not reach it while BERT and ALBERT do.",
    ),
    Statement(
        "C7",
        "DistilBERT fails to reach the target on IMDB from 4 clients on (so it succeeds at 2).",
        "section 4.2, Fig. 2",
        "The originals: at these K. Other models, the shape: as C6, at a smaller K than on Yelp.",
    ),
    Statement(
        "C8",
        "With many clients DistilBERT stays at chance for the whole run on IMDB and for part of it "
        "on AG News.",
        "section 4.3, Fig. 3",
        "At the largest K the longest stretch at chance is the whole run on IMDB, and between 10 % "
        "and all of it, with an escape, on AG News.",
    ),
    Statement(
        "C9",
        "BERT on Yelp degrades gradually.",
        "section 4.3, Fig. 3",
        "The area under its accuracy curve up to the budget falls with log2 K, and no doubling of "
        "K loses more than a third of it.",
    ),
    Statement(
        "C10",
        "BERT and ALBERT scale well to 32 clients; their size is not prohibitive.",
        "section 5",
        "Retention at K = 32 is over one half for both, on most data sets, and peak memory there "
        "is at most 10 % over that at K = 1 (no part of the verdict where it is not tracked).",
    ),
    Statement(
        "C11",
        "DistilBERT needs more rounds for the same performance.",
        "section 5",
        "Rounds to one common accuracy per data set, the lowest of the models' targets: no model "
        "needs more than DistilBERT at any K, and each needs fewer at some K.",
    ),
    Statement(
        "C12",
        "The models have 110 M, 11 M and 65 M parameters in 12, 12 and 6 layers.",
        "section 3.2",
        "Read from the models, to within 10 %; for the originals only.",
    ),
    Statement(
        "C13",
        "BERT and ALBERT learn each task quickly, DistilBERT slowly.",
        "section 5",
        "DistilBERT takes more sequential steps to its target than either at K = 1.",
    ),
)


@dataclass(frozen=True)
class Claim:
    """A statement with its verdict and the comparisons that it rests on."""

    statement: Statement
    verdict: Verdict
    reason: str
    parts: Sequence[Part]
    variant: str = ""
