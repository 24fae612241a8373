"""From numbers to a verdict: the rules by which a claim holds, does not hold, or stays open.

A quantity is judged by its *margin* over a threshold (positive: the claim holds), paired by seed.

- Five seeds or more: the 95 % interval of the mean margin must not contain 0.
- Two to four seeds: the margins must have one sign, and their mean must lie outside the noise of
  the test set (1.96 standard errors).
- One seed: the margin must lie outside that noise.

What is compared was tested on the same examples. Where the predictions are tracked, the noise of
the test set comes from the differences example by example, and the interval covers test examples
as well as seeds (samples.py); else the noise is binomial and the interval covers seeds alone.

A yes or no per seed (a target that is met, an order of rounds) holds where the seeds agree; with
five or more, where the 95 % interval of their share (Wilson) leaves out one half. Everything else
is *inconclusive*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fedtune.analysis import numbers
from fedtune.analysis.samples import Sample

Verdict = Literal["holds", "does not hold", "inconclusive", "not applicable", "not run"]
VERDICTS: tuple[Verdict, ...] = (
    "holds",
    "does not hold",
    "inconclusive",
    "not applicable",
    "not run",
)

#: The rules above in a reader's words, for the page and for claims.json.
RULE = (
    "Every seed has a baseline and so a target of its own, and comparisons are paired by seed. "
    "With five seeds or more a verdict needs a 95 % interval that does not contain the "
    "threshold; with two to four, all seeds on one side of it and a mean farther from it "
    "than the noise of the test set (1.96 standard errors); with one seed, a distance beyond that "
    "noise. Where predictions are tracked, comparisons are paired by test example too, and "
    "intervals cover test examples as well as seeds; else the noise is binomial and intervals "
    "cover seeds alone. What does not meet this is inconclusive. A claim whose "
    "models, data sets or numbers of clients are not all there is not run, unless a part that is "
    "there already contradicts it; so is what rests on a target or on retention where no baseline "
    "is clearly above chance. A target that was not met within the cap counts as later than "
    "any round, and is never averaged."
)


@dataclass(frozen=True)
class Part:
    """One comparison that a claim rests on, with its numbers for people and for programs."""

    what: str
    verdict: Verdict
    numbers: str
    threshold: str = ""
    per_seed: Mapping[int, Any] = field(default_factory=dict)


def decide(margin: Sample) -> Verdict:
    """Judge margins by seed."""
    values = margin.values.values()
    if not values:
        return "not run"
    bounds = margin.interval()
    if bounds is None and abs(margin.mean) <= numbers.NORMAL_95 * margin.test_error:
        return "inconclusive"
    low, high = bounds or (min(values), max(values))
    if low > 0:
        return "holds"
    return "does not hold" if high < 0 else "inconclusive"


def decide_truths(truths: Mapping[int, bool | None]) -> Verdict:
    """Judge a yes, no or undecided (None) by seed."""
    if not truths:
        return "not run"
    answers: tuple[tuple[bool, Verdict], ...] = ((True, "holds"), (False, "does not hold"))
    for wanted, verdict in answers:
        count = sum(truth is wanted for truth in truths.values())
        if len(truths) >= numbers.SEEDS_FOR_INTERVAL:
            if numbers.wilson(count, len(truths))[0] > 0.5:
                return verdict
        elif count == len(truths):
            return verdict
    return "inconclusive"


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """All parts have to hold. One that does not is enough to say so, whatever else is missing."""
    counted = [verdict for verdict in verdicts if verdict != "not applicable"]
    order: tuple[Verdict, ...] = ("does not hold", "not run", "inconclusive")
    for verdict in order:
        if verdict in counted:
            return verdict
    return "holds" if counted else "not run"


def most_of(verdicts: Sequence[Verdict]) -> Verdict:
    """More than half of the parts have to hold."""
    count = Counter(verdicts)
    if not verdicts:
        return "not run"
    if 2 * count["holds"] > len(verdicts):
        return "holds"
    if 2 * count["does not hold"] >= len(verdicts):
        return "does not hold"
    return "not run" if count["not run"] else "inconclusive"


def unless_missing(verdict: Verdict, missing: Sequence[int]) -> Verdict:
    """A trend over K that holds where some K are missing is not known; one that breaks, breaks."""
    return "not run" if missing and verdict != "does not hold" else verdict


def where_open(verdict: Verdict, missing: bool) -> Verdict:
    """What trials that are missing may still turn is not known, rather than inconclusive."""
    return "not run" if missing and verdict == "inconclusive" else verdict


def both(*truths: bool | None) -> bool | None:
    """All of them, where some may be undecided."""
    if any(truth is False for truth in truths):
        return False
    return None if any(truth is None for truth in truths) else True


def told(parts: Sequence[Part]) -> str:
    """How the parts came out, in a line."""
    count = Counter(part.verdict for part in parts)
    said = ", ".join(f"{count[verdict]} {verdict}" for verdict in VERDICTS if count[verdict])
    return f"{len(parts)} comparison{'s' * (len(parts) != 1)}: {said}" if parts else ""
