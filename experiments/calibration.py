"""What the calibration says: a learning rate for each model, and how soon K = 1 stands still.

    fedtune sweep experiments/mini-calibration.yaml
    python -m fedtune.experiments.calibration [SWEEP] [--tracking-uri URI]

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
from fedtune.tracking.projection import resolve_uri

#: Half a point of accuracy: what counts as the same.
SAME = 0.005

Curve = list[float]


def curves(trials: Sequence[TrackedTrial]) -> dict[str, dict[float, dict[str, Curve]]]:
    """Validation accuracy per round from the first, by model, learning rate and data set."""
    found: dict[str, dict[float, dict[str, Curve]]] = {}
    for trial in trials:
        rate = float(trial.params["learning_rate"])
        curve = [r["validation/accuracy"] for r in trial.records if r["round"] >= 1]
        if trial.ended and len(curve) == trial.rule.budget:  # not one that diverged
            found.setdefault(trial.model, {}).setdefault(rate, {})[trial.dataset] = curve
    return found


def settled(curve: Curve) -> float:
    """The mean over the second half of the rounds."""
    return statistics.fmean(curve[len(curve) // 2 :])


def choose(by_rate: dict[float, dict[str, Curve]]) -> float:
    """The rate of a model by the rule above, among those with a curve on every data set."""
    most = max(map(len, by_rate.values()))
    means = {
        rate: statistics.fmean(map(settled, of.values()))
        for rate, of in by_rate.items()
        if len(of) == most
    }
    return max(rate for rate, mean in means.items() if mean >= max(means.values()) - SAME)


def gains(chosen: Sequence[Curve]) -> list[float]:
    """What each round from the second on adds, on average over the curves."""
    return [
        statistics.fmean(curve[at] - curve[at - 1] for curve in chosen)
        for at in range(1, min(map(len, chosen)))
    ]


def as_markdown(found: dict[str, dict[float, dict[str, Curve]]]) -> str:
    """The tables, and what follows from them."""
    datasets = sorted({name for rates in found.values() for of in rates.values() for name in of})
    lines = [
        f"| model | learning rate | {' | '.join(datasets)} | mean | chosen |",
        "|" + " --- |" * (len(datasets) + 4),
    ]
    chosen: list[Curve] = []
    for model, by_rate in found.items():
        best = choose(by_rate)
        chosen += by_rate[best].values()
        for rate, of in sorted(by_rate.items()):
            cells = [f"{settled(of[name]):.3f}" if name in of else "diverged" for name in datasets]
            mean = f"{statistics.fmean(map(settled, of.values())):.3f}"
            mark = "yes" if rate == best else ""
            lines.append(f"| {model} | {rate:g} | {' | '.join([*cells, mean, mark])} |")
    told = ", ".join(f"{100 * gain:+.1f}" for gain in gains(chosen))
    return "\n".join(
        [
            *lines,
            "",
            "Validation accuracy at K = 1, mean over the second half of the rounds. At the chosen "
            f"rates each round from the second on adds, on average, {told} points.",
        ]
    )


def main() -> None:
    """Print the tables of a sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", nargs="?", default="mini-calibration")
    parser.add_argument("--tracking-uri", help="default: $MLFLOW_TRACKING_URI, else mlflow.db here")
    asked = parser.parse_args()
    sweep = load_sweep(resolve_uri(asked.tracking_uri), asked.sweep)
    print(as_markdown(curves(sweep.trials)))


if __name__ == "__main__":
    main()
