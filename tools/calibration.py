"""What the calibration says: a learning rate for each model, and how soon K = 1 stands still.

    fedtune sweep experiments/mini-calibration.yaml
    python -m tools.calibration [SWEEP] [--tracking-uri URI]

Two rules, fixed before any federated trial was run. A model's rate is the largest whose validation
accuracy, averaged over the second half of the rounds and over the data sets, is within half a point
of the best: a client of 32 takes a 32nd of the steps, and so needs the longest that do no harm. The
average, because plain SGD at a constant rate never comes to rest, and a single round is a matter of
luck. And a budget is long enough once another round of K = 1 at that rate adds less than half a
point on average.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

from fedtune.analysis.history import load_sweep
from fedtune.analysis.tracked import TrackedTrial
from fedtune.errors import BadInput
from fedtune.tracking.uri import resolve_uri

#: Half a point of accuracy: what counts as the same.
SAME = 0.005

Curve = list[float]
#: By model, learning rate and data set; None where a trial diverged.
Curves = dict[str, dict[float, dict[str, Curve | None]]]


def curves(trials: Sequence[TrackedTrial]) -> Curves:
    """Validation accuracy per evaluated round from the first, as a mean over seeds.

    Raises BadInput as ``check_whole`` does.
    """
    check_whole(trials)
    by_seed: dict[str, dict[float, dict[str, list[Curve | None]]]] = {}
    for trial in trials:
        by_rate = by_seed.setdefault(trial.model, {}).setdefault(
            float(trial.params["learning_rate"]), {}
        )
        by_rate.setdefault(trial.dataset, []).append(validation_curve(trial))
    return {
        model: {
            rate: {name: _mean(found) for name, found in of.items()} for rate, of in by_rate.items()
        }
        for model, by_rate in by_seed.items()
    }


def check_whole(trials: Sequence[TrackedTrial]) -> None:
    """Raise BadInput where a trial has not come to its end, or was run without validation texts: a
    choice from a part would not be the choice.
    """
    open_trials = [trial.name for trial in trials if not trial.ended]
    blind = [t.name for t in trials if not any("validation/accuracy" in r for r in t.records)]
    for names, what in ((open_trials, "has not ended"), (blind, "has no validation accuracy")):
        if names:
            raise BadInput.of("sweep", names[0], f"{what} ({len(names)} of {len(trials)} trials)")


def validation_curve(trial: TrackedTrial) -> Curve | None:
    """Validation accuracy in each evaluated round from the first; None where it diverged."""
    rounds = [record for record in trial.records if record["round"] >= 1]
    curve = [r["validation/accuracy"] for r in rounds if "validation/accuracy" in r]
    return curve if len(rounds) == trial.rule.budget else None


def _mean(found: Sequence[Curve | None]) -> Curve | None:
    whole = [curve for curve in found if curve is not None]
    if len(whole) < len(found):  # a rate at which one seed diverges is none
        return None
    return [statistics.fmean(values) for values in zip(*whole, strict=True)]


def settled(curve: Curve) -> float:
    """The mean over the second half of the evaluated rounds."""
    return statistics.fmean(curve[len(curve) // 2 :])


def score(of: dict[str, Curve | None]) -> float | None:
    """The mean over data sets; None where the rate diverged on one."""
    whole = [curve for curve in of.values() if curve is not None]
    return statistics.fmean(map(settled, whole)) if len(whole) == len(of) else None


def choose(by_rate: dict[float, dict[str, Curve | None]]) -> float:
    """The rate of a model by the rule above. Raises BadInput where every one diverged."""
    scores = {rate: found for rate, of in by_rate.items() if (found := score(of)) is not None}
    if not scores:
        raise BadInput.of("learning_rate", sorted(by_rate), "diverged everywhere; try lower ones")
    return max(rate for rate, mean in scores.items() if mean >= max(scores.values()) - SAME)


def gains(chosen: Sequence[Curve]) -> list[float]:
    """What each evaluated round from the second on adds, on average over the curves."""
    return [
        statistics.fmean(curve[at] - curve[at - 1] for curve in chosen)
        for at in range(1, min(map(len, chosen)))
    ]


def as_markdown(found: Curves) -> str:
    """The table, and what follows from it."""
    datasets = sorted({name for rates in found.values() for of in rates.values() for name in of})
    lines = [
        f"| model | learning rate | {' | '.join(datasets)} | mean | chosen |",
        "|" + " --- |" * (len(datasets) + 4),
    ]
    chosen: list[Curve] = []
    for model, by_rate in found.items():
        best = choose(by_rate)
        chosen += [curve for curve in by_rate[best].values() if curve is not None]
        for rate, of in sorted(by_rate.items()):
            cells = [_cell(of, name) for name in datasets]
            mean = score(of)
            ends = ["" if mean is None else f"{mean:.3f}", "yes" if rate == best else ""]
            lines.append(f"| {model} | {rate:g} | {' | '.join([*cells, *ends])} |")
    told = ", ".join(f"{100 * gain:+.1f}" for gain in gains(chosen))
    return "\n".join(
        [
            *lines,
            "",
            "Validation accuracy at K = 1, mean over the second half of the rounds. At the chosen "
            f"rates each evaluated round from the second on adds, on average, {told} points.",
        ]
    )


def _cell(of: dict[str, Curve | None], name: str) -> str:
    if name not in of:
        return "not run"
    curve = of[name]
    return "diverged" if curve is None else f"{settled(curve):.3f}"


def main() -> None:
    """Print the tables of a sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", nargs="?", default="mini-calibration")
    parser.add_argument("--tracking-uri", help="default: $MLFLOW_TRACKING_URI, else mlflow.db here")
    asked = parser.parse_args()
    try:
        sweep = load_sweep(resolve_uri(asked.tracking_uri), asked.sweep)
        print(as_markdown(curves(sweep.trials)))
    except BadInput as bad:
        parser.error(str(bad))


if __name__ == "__main__":
    main()
