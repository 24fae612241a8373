"""From numbers to a verdict: the rules by which a claim holds, does not hold, or stays open.

Every comparison gives an :class:`Answer`: the p-values of "it holds" and of "it does not hold",
each against a margin (claims.py). Either is said at 2.5 %, so at 5 % for both. How the p-values are
made, for any number of seeds, is in inference.py.

A claim with several comparisons *holds* where all of them do (intersection–union test). It *does
not hold* where one does not after Holm's adjustment, since one of many is soon wrong by chance.

*Not testable* is what was not seen and, by steps alone, need not have been at these sizes: see
testable.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fedtune.analysis.inference import ONE_SIDED, at_least, holm, p_most
from fedtune.analysis.samples import Sample

Verdict = Literal[
    "holds", "does not hold", "inconclusive", "not testable", "not applicable", "not run"
]
VERDICTS: tuple[Verdict, ...] = (
    "holds",
    "does not hold",
    "inconclusive",
    "not testable",
    "not applicable",
    "not run",
)

#: The rules above in a reader's words, for the page and for claims.json.
RULE = (
    "Every comparison has a margin that was fixed beforehand, and is paired by seed and, where "
    "predictions are tracked, by test text. A verdict allows an error of 5 %, over seeds and test"
    " texts together, by one formula for any number of seeds: Student's t with one degree of "
    "freedom less than seeds for the part that differs from seed to seed, the normal distribution"
    " for what the test texts add. One seed decides nothing. A yes or no per seed (a target that "
    "is met) takes at least five answers that agree; its error is that of whole numbers, 2 to 8 "
    "%. A claim holds where all its comparisons do; it does not hold where one does not, at 5 % "
    "for all of them together (Holm). Not testable in this regime is what was not seen and need "
    "not have been (a target that is missed, a fall to chance, a loss of half): one client's steps "
    "to it, as far as its evaluations tell, do not say that the steps which many clients take "
    "within their rounds are too few. A claim whose "
    "models, data sets or numbers of clients are not all there is not run, unless a part that is "
    "there already contradicts it; so is what rests on a target or on retention where no baseline"
    " is clearly above chance. How accurate a baseline is, and so its target, is the mean of its "
    "last three evaluations; a target counts as met where the accuracy stays there (isotonic "
    "regression). One that was not met within the cap counts as later than any round, and never "
    "shows that no more rounds are needed."
)


@dataclass(frozen=True)
class Answer:
    """The p-values of yes and of no, and the word where neither is shown."""

    p_yes: float = 1.0
    p_no: float = 1.0
    otherwise: Verdict = "inconclusive"

    @property
    def verdict(self) -> Verdict:
        if self.p_no <= ONE_SIDED:
            return "does not hold"
        return "holds" if self.p_yes <= ONE_SIDED else self.otherwise

    def unless_missing(self, missing: object) -> Answer:
        """A trend over K that holds where some K are missing is not known; one that breaks, is."""
        return replace(self, p_yes=1.0, otherwise="not run") if missing else self

    def where_open(self, missing: object) -> Answer:
        """What trials that are missing may still turn is not run, rather than inconclusive."""
        return replace(self, otherwise="not run") if missing else self

    def not_denied(self, word: Verdict, seen: bool = False) -> Answer:
        """What was not seen and could not be seen here is no evidence against it; what was seen,
        and is not sure, stays open; what is missing may still be seen.
        """
        keeps = seen or self.otherwise == "not run"
        return replace(self, p_no=1.0, otherwise=self.otherwise if keeps else word)

    @property
    def opposite(self) -> Answer:
        return replace(self, p_yes=self.p_no, p_no=self.p_yes)


NOT_RUN = Answer(otherwise="not run")


@dataclass(frozen=True)
class Part:
    """One comparison that a claim rests on, with its numbers for people and for programs."""

    what: str
    answer: Answer
    numbers: str
    threshold: str = ""
    per_seed: Mapping[int, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        return self.answer.verdict


Checked = tuple[Answer, Sequence[Part]]


def above(sample: Sample, threshold: float) -> Answer:
    """Is the mean over seeds and test texts above a threshold?"""
    if not sample.values:
        return NOT_RUN
    estimate = sample.estimate
    return Answer(estimate.p_above(threshold), estimate.p_below(threshold))


def below(sample: Sample, threshold: float) -> Answer:
    """Is it below a threshold?"""
    return above(sample, threshold).opposite


def mostly(truths: Collection[bool | None]) -> Answer:
    """Is the answer of a seed more often yes than no? None stands for what is not known."""
    if not truths:
        return NOT_RUN
    yes, no = (sum(truth is wanted for truth in truths) for wanted in (True, False))
    return Answer(p_most(yes, len(truths)), p_most(no, len(truths)))


def all_of(answers: Iterable[Answer]) -> Answer:
    """Do all hold? One that does not is enough to say so, whatever else is missing."""
    counted = [answer for answer in answers if answer.otherwise != "not applicable"]
    if not counted:
        return NOT_RUN
    tested = [answer.p_no for answer in counted if answer.p_no < 1]
    open_still = [answer.otherwise for answer in counted if answer.p_yes > ONE_SIDED]
    return Answer(
        at_least(len(counted), [answer.p_yes for answer in counted]),
        at_least(1, tested) if tested else 1.0,
        _of(open_still),
    )


def any_of(answers: Iterable[Answer]) -> Answer:
    """Does one of them hold?"""
    return all_of(answer.opposite for answer in answers).opposite


def most_of(answers: Sequence[Answer]) -> Answer:
    """Do more than half of them hold?"""
    if not answers:
        return NOT_RUN
    more = len(answers) // 2 + 1
    return Answer(
        at_least(more, [answer.p_yes for answer in answers]),
        at_least(len(answers) - more + 1, [answer.p_no for answer in answers]),
        _of([answer.otherwise for answer in answers if answer.p_yes > ONE_SIDED]),
    )


def _of(words: Sequence[Verdict]) -> Verdict:
    """The word for all of it: what is missing comes first, then what is open."""
    order: tuple[Verdict, ...] = ("not run", "inconclusive", "not testable")
    return next((word for word in order if word in words), "inconclusive")


def settled(parts: Sequence[Part]) -> list[Part]:
    """The parts of a claim, with p-values of "does not hold" that count how many there are."""
    places = [place for place, part in enumerate(parts) if part.answer.p_no < 1]
    adjusted = dict(zip(places, holm([parts[place].answer.p_no for place in places]), strict=True))
    return [
        replace(part, answer=replace(part.answer, p_no=adjusted.get(place, 1.0)))
        for place, part in enumerate(parts)
    ]


def together(parts: Sequence[Part]) -> Checked:
    """A claim that is all its parts."""
    return all_of(part.answer for part in parts), parts


def alike(sample: Sample, margin: float, shown: str) -> str:
    """Whether a difference is shown to be smaller than its margin in either direction (TOST at 5 %,
    for this comparison alone). Nothing without values.
    """
    if not sample.values or sample.estimate.p_within(margin) > 2 * ONE_SIDED:
        return ""
    return f"; taken alone, the same within {shown}"


def told(parts: Sequence[Part]) -> str:
    """How the parts came out, in a line."""
    count = Counter(part.verdict for part in parts)
    said = ", ".join(f"{count[verdict]} {verdict}" for verdict in VERDICTS if count[verdict])
    return f"{len(parts)} comparison{'s' * (len(parts) != 1)}: {said}" if parts else ""
