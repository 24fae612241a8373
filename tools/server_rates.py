"""Which setting of each strategy the heterogeneity study uses, settled on validation texts.

    fedtune sweep experiments/heterogeneity-rates.yaml
    python -m tools.server_rates [SWEEP] [--tracking-uri URI]

The rule, fixed before the study's trials: a strategy's setting is the one whose validation
accuracy, averaged over the second half of the rounds and over the numbers of clients, is best. One
that diverged with any number of clients is none.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

from fedtune.analysis.history import load_sweep
from fedtune.analysis.tracked import TrackedTrial
from fedtune.config import strategy_name
from fedtune.errors import BadInput
from fedtune.tracking.uri import resolve_uri
from tools.calibration import check_whole, settled, validation_curve

#: What is tuned of a strategy, where something is.
TUNED = {
    "fedprox": "prox_mu",
    "fedavgm": "server_learning_rate",
    "fedadam": "server_learning_rate",
}

#: By strategy, value of its setting ("" where it has none) and number of clients.
Scores = dict[str, dict[str, dict[int, float | None]]]


def scores(trials: Sequence[TrackedTrial]) -> Scores:
    """Validation accuracy, mean over the second half of the rounds; None where it diverged.

    Raises BadInput as ``check_whole`` does.
    """
    check_whole(trials)
    found: Scores = {}
    for trial in trials:
        if trial.is_baseline:
            continue
        name = strategy_name(trial.params["strategy"], trial.params["server_optimizer"])
        value = trial.params[TUNED[name]] if name in TUNED else ""
        curve = validation_curve(trial)
        by_clients = found.setdefault(name, {}).setdefault(value, {})
        by_clients[trial.clients] = None if curve is None else settled(curve)
    return found


def mean(by_clients: dict[int, float | None]) -> float | None:
    """Over the numbers of clients; None where one of them diverged."""
    whole = [score for score in by_clients.values() if score is not None]
    return statistics.fmean(whole) if len(whole) == len(by_clients) else None


def choose(by_value: dict[str, dict[int, float | None]]) -> str:
    """The value by the rule above. Raises BadInput where every one diverged."""
    means = {value: found for value, of in by_value.items() if (found := mean(of)) is not None}
    if not means:
        raise BadInput.of("sweep", sorted(by_value), "diverged everywhere; try lower ones")
    return max(means, key=lambda value: means[value])


def as_markdown(found: Scores) -> str:
    """The table."""
    clients = sorted({k for of in found.values() for by in of.values() for k in by})
    heads = [*(f"K = {k}" for k in clients), "mean", "chosen"]
    lines = [f"| strategy | setting | {' | '.join(heads)} |", "|" + " --- |" * (len(heads) + 2)]
    for name, by_value in found.items():
        best = choose(by_value)
        for value, of in sorted(by_value.items(), key=lambda item: float(item[0] or 0)):
            cells = ["diverged" if of[k] is None else f"{of[k]:.3f}" for k in clients]
            whole = mean(of)
            setting = f"{TUNED[name]} {value}" if value else ""
            ends = ["" if whole is None else f"{whole:.3f}", "yes" if value == best else ""]
            lines.append(f"| {name} | {setting} | {' | '.join([*cells, *ends])} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table of a sweep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", nargs="?", default="heterogeneity-rates")
    parser.add_argument("--tracking-uri", help="default: $MLFLOW_TRACKING_URI, else mlflow.db here")
    asked = parser.parse_args()
    try:
        print(as_markdown(scores(load_sweep(resolve_uri(asked.tracking_uri), asked.sweep).trials)))
    except BadInput as bad:
        parser.error(str(bad))


if __name__ == "__main__":
    main()
