"""Write figures, tables and verdicts."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedtune.analysis import style
from fedtune.analysis.inference import Estimate
from fedtune.errors import BadInput
from fedtune.paths import expanded
from tools import step_law
from tools.collapse import figures, rules
from tools.collapse.seen import Trials, read
from tools.step_law import RATES

#: The data sets of the experiment; the first has the whole diagram.
DATASETS = ("ag_news_14k", "imdb")


def write(published: Path, store: Path, out: Path) -> list[str]:
    """Write everything that there are trials for; gives the names of the files."""
    trials = read(store)
    if not trials.seen:
        raise BadInput.of("store", str(store), "has no trial of the experiment at its end")
    found = {
        dataset: rules.cells(trials, dataset, rules.predictions(step_law.laws(published, dataset)))
        for dataset in DATASETS
    }
    first = found[DATASETS[0]]
    every = [cell for cells in found.values() for cell in cells]
    drift = rules.drift(trials, DATASETS[0])
    needs = _needs(trials)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    (out / "tables").mkdir(exist_ok=True)
    written = []
    with style.settings():
        made = {
            "one-curve": figures.one_curve(trials, DATASETS[0], RATES[0]),
            "rounds": figures.against_prediction(every),
            "phases": figures.phases(first),
            "steps-or-drift": figures.steps_or_drift(drift),
            "noise": figures.noise(trials, DATASETS[0]),
            "retention": figures.retention(trials, needs),
        }
        for name, figure in made.items():
            if figure is not None:
                path = out / "figures" / f"{name}.svg"
                path.write_text(style.save_svg(figure, name), encoding="utf-8")
                written.append(name)
    ratios = [*rules.models(trials, DATASETS[0]), *rules.models(trials, DATASETS[1])]
    texts = {
        "rounds": _cells(every),
        "verdicts": _verdicts(rules.step_law(every)),
        "steps-or-drift": _drift(drift),
        "needs": _ratios(ratios, lambda ratio: ratio.as_published),
        "heads": _ratios(rules.heads(trials, DATASETS[0]), lambda ratio: ratio.matters),
    }
    for name, lines in texts.items():
        (out / "tables" / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        written.append(name)
    return written


def _needs(trials: Trials) -> dict[tuple[str, str, float], float]:
    """The median need of each model on each data set at each rate."""
    found = {}
    for key in {(s.model, s.dataset, s.rate) for s in trials.seen}:
        model, dataset, rate = key
        plain = {"head": "own", "head_init": "shared", "batch_size": 8}
        by_seed = rules.needs(trials, model=model, dataset=dataset, rate=rate, **plain)
        if by_seed:
            found[key] = statistics.median(by_seed.values())
    return found


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    return lines + [f"| {' | '.join(map(str, row))} |" for row in rows]


def _cells(found: Sequence[rules.Cell]) -> list[str]:
    """Predicted and observed, by seed."""
    heads = ["data", "model", "rate", "K", "predicted", "median", "by seed", "as predicted"]
    return _table(
        heads,
        (
            (
                cell.dataset,
                figures.NAMES[cell.model],
                f"{cell.rate:g}",
                cell.clients,
                _rounds(cell.predicted, cell.cap),
                _rounds(cell.observed, cell.cap),
                ", ".join(_rounds(cell.seen[seed], cell.cap) for seed in sorted(cell.seen)),
                "yes" if cell.is_close or not (cell.is_readable or cell.reached) else "no",
            )
            for cell in found
        ),
    )


def _rounds(rounds: float, cap: int) -> str:
    return f"{rounds:g}" if rounds <= cap else f"> {cap}"


def _verdicts(found: Sequence[rules.Verdict]) -> list[str]:
    return _table(
        ["rule", "found", "verdict"], ((each.rule, each.found, each.verdict) for each in found)
    )


def _drift(found: Sequence[rules.Drift]) -> list[str]:
    heads = ["model", "K", "steps", "accuracy, points", "test loss", "seeds", "within the margins"]
    return _table(
        heads,
        (
            (
                figures.NAMES[each.model],
                each.clients,
                each.steps,
                _estimate(each.accuracy, 100, 2),
                _estimate(each.loss, 1, 4),
                each.seeds,
                each.verdict,
            )
            for each in found
        ),
    )


def _estimate(estimate: Estimate, times: float, digits: int) -> str:
    low, high = (times * bound for bound in estimate.interval())
    return f"{times * estimate.mean:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _ratios(found: Sequence[rules.Ratio], verdict: object) -> list[str]:
    assert callable(verdict)
    rows = []
    for each in found:
        factor, low, high = each.factor
        told = f"{factor:.2f} ({low:.2f} to {high:.2f})"
        rows.append((each.what, each.of, told, each.seeds, verdict(each)))
    return _table(["sum of rates to target", "of", "factor", "seeds", "verdict"], rows)


def main() -> None:
    """Read the stores and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=expanded, required=True)
    parser.add_argument("--store", type=expanded, default=Path("trials"))
    parser.add_argument("--out", type=expanded, required=True)
    asked = parser.parse_args()
    try:
        written = write(asked.published, asked.store, asked.out)
    except BadInput as bad:
        parser.error(str(bad))
    print(f"{asked.out}: {', '.join(written)}")


if __name__ == "__main__":
    main()
