"""Does a sweep ask what the paper asks? Only then are its claims of interest."""

from __future__ import annotations

import itertools

from fedtune.analysis.axis import DEFAULTS
from fedtune.analysis.grid import Grid
from fedtune.analysis.roles import TITLES, role_of

#: The paper's models and data sets, by the names that :func:`role_of` gives.
MODELS = ("bert", "albert", "distilbert")
DATASETS = ("imdb", "yelp", "ag-news")

#: Settings that the paper leaves as they are.
_PLAIN = ("partition", "participation", "strategy", "server_optimizer")

#: A trend over K takes more numbers of clients than a comparison of two.
FEWEST_CLIENTS = 3


def has_papers_shape(grid: Grid) -> bool:
    """Does some model of the paper, or one that stands for it, meet one of its data sets at three
    numbers of clients or more, begun or planned? With federated averaging of IID clients that all
    take part, and nothing else.
    """
    planned_settings = grid.expected.settings([trial.params for trial in grid.trials])
    everything = [*(trial.settings for trial in grid.trials), *planned_settings]
    if any(each.params[field] != DEFAULTS[field] for each in everything for field in _PLAIN):
        return False
    planned = itertools.product(grid.expected.models, grid.expected.datasets)
    clients: dict[tuple[str, str], set[int]] = {
        pair: set(grid.expected.clients) for pair in planned
    }
    for trial in grid.trials:
        clients.setdefault((trial.model, trial.dataset), set()).add(trial.clients)
    return any(
        role_of(model) in MODELS and role_of(dataset) in DATASETS and len(found) >= FEWEST_CLIENTS
        for (model, dataset), found in clients.items()
    )


def caveats(grid: Grid) -> list[str]:
    """What a reader of the claims has to know of the sweep before."""
    lines = []
    minis = [m for m in grid.models if m.startswith("mini-") and role_of(m)]
    if minis:
        stand = ", ".join(f"{model} for {TITLES[str(role_of(model))]}" for model in minis)
        lines.append(
            f"The models are miniatures that stand for the paper's: {stand}. Whether a shape "
            "appears on them says nothing certain about the originals."
        )
    if grid.clients[-1] < 32:
        lines.append(
            f"The largest K here is {grid.clients[-1]}, the paper's is 32: trends over K are "
            "judged as far as this sweep goes."
        )
    return lines
