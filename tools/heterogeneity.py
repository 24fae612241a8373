"""The predictions of docs/results/heterogeneity/predictions.md, held against the trials.

    python -m tools.heterogeneity [--store trials]

Prints, as Markdown, the accuracy of every cell with its difference to FedAvg, and a verdict on each
prediction by the rule that was committed with them: a difference *is one* if it has the same sign
in every seed and its mean is larger than what the test texts leave open. All seeds have the same
test texts, so what these leave open is that of the mean over seeds, text by text; with one seed it
is McNemar's test. Taken as texts of their own, as the rule could also be read, they would leave
less open.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fedtune.analysis.samples import Sample, difference
from fedtune.config import strategy_name
from fedtune.errors import BadInput
from fedtune.paths import expanded
from fedtune.plan.plan_file import load_plan
from fedtune.run.launch import LaunchResult
from fedtune.trial.results import Result

#: How clients are drawn, from alike to unlike, and what the study compares.
SPREADS = ("IID", "α = 1", "α = 0.1")
STRATEGIES = ("fedavg", "fedprox", "scaffold", "fedavgm", "fedadam")
SHOWN = dict(zip(STRATEGIES, ("FedAvg", "FedProx", "SCAFFOLD", "FedAvgM", "FedAdam"), strict=True))
CLIENTS = (8, 32)

#: P3 and P7 in points of accuracy.
LITTLE, MUCH, WORST = 0.03, 0.05, 0.15

#: 95 % of a normal distribution, two-sided.
_Z = 1.96


@dataclass(frozen=True)
class Cell:
    """A strategy with clients of a kind: accuracy at the budget by seed, and by test text.

    ``mean_client`` and ``worst_client`` are means over seeds; None where clients do not differ.
    """

    accuracy: Sample
    mean_client: float | None
    worst_client: float | None


#: By spread, strategy and number of clients.
Cells = Mapping[tuple[str, str, int], Cell]


@dataclass(frozen=True)
class Difference:
    """One setting less another, paired by seed and test text."""

    sample: Sample

    @cached_property
    def sign(self) -> int:
        """1 or -1 where it *is one*, else 0."""
        values = list(self.sample.values.values())
        mean = statistics.fmean(values)
        if abs(mean) <= _Z * self.sample.test_error:
            return 0
        return (all(v > 0 for v in values) and 1) or (all(v < 0 for v in values) and -1) or 0

    def __str__(self) -> str:
        values = list(self.sample.values.values())
        seeds = ", ".join(f"{100 * value:+.1f}" for value in values)
        mark = "**" if self.sign else ""
        return f"{mark}{100 * statistics.fmean(values):+.1f}{mark} ({seeds})"


@dataclass(frozen=True)
class Judged:
    """A prediction, what was seen, and whether it ``holds``, ``fails`` or is ``open``."""

    name: str
    seen: str
    verdict: str


def read(store: Path, sweep: str = "heterogeneity") -> Cells:
    """The cells of a sweep that has come to its end. Raises BadInput where it has not."""
    plan = load_plan(store, sweep)
    results = [r for r in LaunchResult.of_store(store, plan).results if not r.trial.is_baseline]
    diverged = [r.trial.trial_id for r in results if r.diverged]
    if diverged:
        what = f"{', '.join(diverged)} diverged, of which the rule says nothing"
        raise BadInput.of("sweep", plan.name, what)
    missing = [r.trial.trial_id for r in results if not r.ended or r.predictions is None]
    if missing:
        raise BadInput.of("sweep", plan.name, f"{len(missing)} of its trials lack rounds")
    found: dict[tuple[str, str, int], list[Result]] = {}
    for result in results:
        config = result.trial.config
        name = strategy_name(config.strategy, config.server_optimizer)
        alpha = f"α = {config.partition_alpha:g}"
        spread = "IID" if config.partition == "iid" else alpha
        found.setdefault((spread, name, config.num_clients), []).append(result)
    return {key: _cell(sorted(of, key=lambda r: r.trial.config.seed)) for key, of in found.items()}


def _cell(results: Sequence[Result]) -> Cell:
    rows = []
    for result in results:
        assert result.predictions is not None
        labels, predicted = np.load(result.predictions, allow_pickle=False)
        rows.append((labels == predicted).astype(np.float64))
    seeds = [result.trial.config.seed for result in results]
    values = {seed: float(row.mean()) for seed, row in zip(seeds, rows, strict=True)}
    last = [result.records[-1] for result in results]

    def over_clients(kind: str) -> float | None:
        name = f"clients/accuracy_{kind}"
        return statistics.fmean(r[name] for r in last) if name in last[0] else None

    accuracy = Sample(values, examples=np.stack(rows), test_set="test")
    return Cell(accuracy, over_clients("mean"), over_clients("worst"))


def to_fedavg(cells: Cells, spread: str, strategy: str, clients: int) -> Difference:
    """How much better a strategy is than FedAvg with the same clients."""
    own, plain = cells[spread, strategy, clients], cells[spread, "fedavg", clients]
    return Difference(difference(own.accuracy, plain.accuracy))


def judge(cells: Cells) -> list[Judged]:
    """All eight, in order."""
    return [
        _no_difference_when_alike(cells),
        _fedprox_is_fedavg(cells),
        _what_it_costs(cells),
        _one_sign("P4", cells, "α = 1", 8, wanted=1),
        _scaffold_is_not_better(cells),
        _server_optimizers(cells),
        _worst_client(cells),
        _fewer_steps(cells),
    ]


def _verdict(holds: bool, fails: bool) -> str:
    return "holds" if holds else "fails" if fails else "open"


def _none_but(differences: Iterable[tuple[str, Difference, bool]]) -> tuple[str, bool]:
    """Those that are differences and were not expected to be, in words; whether there is none."""
    wrong = [
        f"{what} {each}"
        for what, each, may_be_better in differences
        if each.sign < 0 or (each.sign > 0 and not may_be_better)
    ]
    return "; ".join(wrong) or "no difference that was excluded", not wrong


def _no_difference_when_alike(cells: Cells) -> Judged:
    seen, none = _none_but(
        (
            f"{SHOWN[name]}, K = {clients}:",
            to_fedavg(cells, "IID", name, clients),
            clients == CLIENTS[-1] and name in ("fedavgm", "fedadam"),
        )
        for name in STRATEGIES[1:]
        for clients in CLIENTS
    )
    return Judged("P1", seen, _verdict(none, not none))


def _fedprox_is_fedavg(cells: Cells) -> Judged:
    seen, none = _none_but(
        (f"{spread}, K = {clients}:", to_fedavg(cells, spread, "fedprox", clients), False)
        for spread in SPREADS
        for clients in CLIENTS
    )
    return Judged("P2", seen, _verdict(none, not none))


def _what_it_costs(cells: Cells) -> Judged:
    lost = {
        (spread, clients): cells["IID", "fedavg", clients].accuracy.mean
        - cells[spread, "fedavg", clients].accuracy.mean
        for spread in SPREADS[1:]
        for clients in CLIENTS
    }
    seen = "; ".join(
        f"{spread}, K = {clients}: {100 * loss:.1f}" for (spread, clients), loss in lost.items()
    )
    holds = all(
        loss < LITTLE if spread == SPREADS[1] else loss > MUCH for (spread, _), loss in lost.items()
    )
    return Judged("P3", f"points lost: {seen}", _verdict(holds, not holds))


def _one_sign(name: str, cells: Cells, spread: str, clients: int, *, wanted: int) -> Judged:
    found = to_fedavg(cells, spread, "scaffold", clients)
    return Judged(name, f"SCAFFOLD {found}", _verdict(found.sign == wanted, found.sign == -wanted))


def _scaffold_is_not_better(cells: Cells) -> Judged:
    found = to_fedavg(cells, "α = 0.1", "scaffold", 32)
    return Judged("P5", f"SCAFFOLD {found}", _verdict(found.sign <= 0, found.sign > 0))


def _server_optimizers(cells: Cells) -> Judged:
    found = {
        (name, clients): to_fedavg(cells, "α = 0.1", name, clients)
        for clients in CLIENTS
        for name in ("fedavgm", "fedadam")
    }
    seen = "; ".join(f"{SHOWN[name]}, K = {k}: {each}" for (name, k), each in found.items())
    signs = [{each.sign for (_, k), each in found.items() if k == clients} for clients in CLIENTS]
    holds, fails = all(1 in of for of in signs), any(of == {-1} for of in signs)
    return Judged("P6", seen, _verdict(holds, fails))


def _worst_client(cells: Cells) -> Judged:
    """Fails where the number is missed, or where the strategies that serve the worst client best
    are all surely less accurate than the best one.
    """
    parts, holds, fails = [], True, False
    for clients in CLIENTS:
        of = {name: cells["α = 0.1", name, clients] for name in STRATEGIES}
        gap = _of_client(of["fedavg"].mean_client) - _of_client(of["fedavg"].worst_client)
        best = max(of, key=lambda name: of[name].accuracy.mean)
        worst = {name: _of_client(cell.worst_client) for name, cell in of.items()}
        kindest = [name for name in STRATEGIES if worst[name] == max(worst.values())]
        less = {
            name: Difference(difference(of[name].accuracy, of[best].accuracy)).sign < 0
            for name in kindest
        }
        holds = holds and gap >= WORST and best in kindest
        fails = fails or gap < WORST or all(less.values())
        parts.append(
            f"K = {clients}: {100 * gap:.1f} points; best {SHOWN[best]}, best for the worst client "
            + " and ".join(f"{SHOWN[name]} ({worst[name]:.3f})" for name in kindest)
        )
    return Judged("P7", "; ".join(parts), _verdict(holds, fails))


def _of_client(accuracy: float | None) -> float:
    assert accuracy is not None, "clients differ"
    return accuracy


def _fewer_steps(cells: Cells) -> Judged:
    found = {}
    for name in STRATEGIES:
        few, many = (cells["α = 0.1", name, clients].accuracy for clients in CLIENTS)
        found[name] = Difference(difference(many, few))
    seen = "; ".join(f"{SHOWN[name]} {each}" for name, each in found.items())
    signs = {each.sign for each in found.values()}
    return Judged("P8", f"K = 32 less K = 8: {seen}", _verdict(signs == {-1}, 1 in signs))


def as_markdown(cells: Cells) -> str:
    """The table of cells and that of verdicts."""
    heads = ["clients", "K", *SHOWN.values()]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for spread in SPREADS:
        for clients in CLIENTS:
            row = [spread, str(clients), f"{cells[spread, 'fedavg', clients].accuracy.mean:.3f}"]
            for name in STRATEGIES[1:]:
                mean = cells[spread, name, clients].accuracy.mean
                row.append(f"{mean:.3f}, {to_fedavg(cells, spread, name, clients)}")
            lines.append(f"| {' | '.join(row)} |")
    lines += ["", "| | seen | verdict |", "| --- | --- | --- |"]
    lines += [f"| {each.name} | {each.seen} | **{each.verdict}** |" for each in judge(cells)]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=Path("trials"))
    asked = parser.parse_args(arguments)
    try:
        print(as_markdown(read(expanded(asked.store))))
    except BadInput as problem:
        raise SystemExit(str(problem)) from problem


if __name__ == "__main__":
    main()
