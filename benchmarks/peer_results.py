"""What comes out of a comparison with other tools: numbers, a table, differences and a figure."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import Running


def params_of(work: Path, name: str) -> Path:
    """Where a peer leaves its parameters."""
    return work / f"{name}.npz"


def summarise(finished: Sequence[Running], asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Each peer's numbers; ratios are to fedtune, or to the first peer where fedtune is missing."""
    timed = {running.name: running.seconds[1:] for running in finished}
    base = timed["fedtune"] if "fedtune" in timed else next(iter(timed.values()), [])
    numbers: dict[str, dict[str, Any]] = {}
    for running in finished:
        seconds = timed[running.name]
        ratios = [own / reference for own, reference in zip(seconds, base, strict=True)]
        median = statistics.median(seconds)
        numbers[running.name] = {
            "version": running.version,
            "median_s": median,
            "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
            "examples_per_s": asked.examples * asked.local_epochs / median,
            "start_up_s": running.started_s,
            "first_round_s": running.seconds[0],
            "seconds": seconds,
            "peak_mb": running.peak_mb,
        }
    return numbers


def table(numbers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The lines of the Markdown table."""
    base = "fedtune" if "fedtune" in numbers else next(iter(numbers), "")
    yield (
        f"| peer | version | median s a round | ratio to {base} (min to max) | examples/s "
        "| start-up s | first round s | peak MB |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, of in numbers.items():
        ratio = of["ratio"]
        yield (
            f"| {name} | {of['version']} | {of['median_s']:.2f} "
            f"| {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}) "
            f"| {of['examples_per_s']:.0f} | {of['start_up_s']:.1f} | {of['first_round_s']:.2f} "
            f"| {of['peak_mb']:.0f} |"
        )


def differences(work: Path, finished: Sequence[Running]) -> dict[str, float]:
    """The largest absolute difference of each peer's parameters to those of the plain loop.

    Infinite where a parameter is missing or not finite.
    """
    expected = parameters(params_of(work, "plain"))
    found: dict[str, float] = {}
    for running in finished:
        theirs = parameters(params_of(work, running.name))
        if set(expected) - set(theirs):
            found[running.name] = float("inf")
            continue
        largest = max(float(np.abs(theirs[name] - expected[name]).max()) for name in expected)
        found[running.name] = largest if np.isfinite(largest) else float("inf")
    return found


def parameters(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def movement(work: Path) -> float:
    """How far the rounds moved the plain loop's parameters at most: what a difference is beside."""
    from safetensors.numpy import load_file

    before = load_file(work / "model" / "model.safetensors")
    after = parameters(params_of(work, "plain"))
    return max(float(np.abs(after[name] - before[name]).max()) for name in before if name in after)


def draw(numbers: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """A bar for each peer, labelled with its seconds and its ratio to fedtune, as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = list(numbers)[::-1]
    seconds = [numbers[name]["median_s"] for name in names]
    # Blue and grey differ in brightness too, so that they do in print and for every eye.
    colours = ["#0072B2" if name.startswith("fedtune") else "#9A9A9A" for name in names]
    figure = Figure(figsize=(7, 0.9 + 0.42 * len(names)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    bars = axes.barh(names, seconds, color=colours, height=0.7)
    labels = [
        f"{numbers[name]['median_s']:.2f} s  (× {numbers[name]['ratio']['median']:.2f})"
        for name in names
    ]
    axes.bar_label(bars, labels, padding=4)
    axes.set_xlim(0, 1.3 * max(seconds))
    axes.set_xlabel("median seconds a round; less is better")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
