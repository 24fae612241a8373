"""Does a sweep ask what the paper asks? Only then are its claims of interest."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from fedtune.analysis.axis import DEFAULTS
from fedtune.analysis.grid import Grid
from fedtune.analysis.paper import claims
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
    return [*lines, _about_seeds(grid), _about_thresholds(grid)]


def _about_seeds(grid: Grid) -> str:
    """How many seeds there are to be, and whether all are there: more seeds after a look are not
    the same as more seeds that were planned.
    """
    planned = grid.expected.seeds or grid.seeds
    whole = grid.expected.num_trials or len(grid.trials)
    ended = sum(trial.ended for trial in grid.trials)
    count = f"{len(planned)} seed{'s' * (len(planned) != 1)}"
    if ended < whole:
        return (
            f"{ended} of {whole} trials have ended, of {count} that are planned: these verdicts "
            "are not final. An error of 5 % is that of one reading at the end; reading earlier, "
            "or adding seeds after a look, makes it larger."
        )
    return (
        f"Verdicts rest on {count}, which is what the sweep plans. An error of 5 % is that of one "
        "reading at the end; adding seeds after a look makes it larger."
    )


def _about_thresholds(grid: Grid) -> str:
    """Whether thresholds are older than results."""
    begun = min((trial.started_ms for trial in grid.trials), default=0) / 1000
    day = datetime.fromtimestamp(begun, UTC).date().isoformat()
    if day > claims.FIXED_ON:
        return f"The thresholds are those of {claims.FIXED_ON}, before the first trial ({day})."
    return (
        f"The thresholds were last changed on {claims.FIXED_ON}, not before the first trial "
        f"({day}): these verdicts are a second reading of results that were known."
    )
