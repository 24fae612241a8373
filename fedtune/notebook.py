"""What a notebook shows of trials: the records of ``fedtune.simulate`` as a table and as curves.

pandas and matplotlib are imported when they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from fedtune.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

#: The rounds of one trial, or those of several by name.
Records: TypeAlias = Iterable[Mapping[str, Any]] | Mapping[Any, Iterable[Mapping[str, Any]]]

#: The column that tells trials apart.
TRIAL = "trial"

_ALLOWED = (
    "allowed are the records of a trial, such as list(fedtune.simulate(config)), or a dict of "
    "several trials by name"
)


def frame(records: Records | DataFrame) -> DataFrame:
    """The rounds of a trial, or of several, as a pandas table.

    ``records`` is what :func:`fedtune.simulate` gives (the iterator, which is then read to its
    end, or a list), or a dict of several trials, ``{"K = 8": records, "K = 32": records}``.

    The index is ``round``; the columns are the tracked names (``test/accuracy`` …), in the order in
    which they first occur. What a round does not have (``test/*`` where it was not evaluated) is
    NaN. With a dict the first column is ``trial``, the key, and each trial's rounds follow those of
    the one before; ``table.pivot(columns="trial", values="test/accuracy")`` has a column for each.

    A table that is one already is given back. Raises BadInput for what holds no rounds.

    >>> frame([{"round": 0, "test/accuracy": 0.2}, {"round": 1, "test/accuracy": 0.9}])
           test/accuracy
    round
    0                0.2
    1                0.9
    """
    import pandas

    if isinstance(records, pandas.DataFrame):
        if records.index.name != "round":
            raise BadInput.of("records", None, "the index of a table has to be the round")
        return records
    trials = _by_name(records)
    rows = [
        {"round": record["round"]}
        | ({} if name is None else {TRIAL: name})
        | {key: value for key, value in record.items() if "/" in key}
        for name, rounds in trials.items()
        for record in rounds
    ]
    return pandas.DataFrame(rows).set_index("round")


def plot(
    records: Records | DataFrame,
    metric: str = "test/accuracy",
    *,
    target: float | None = None,
    chance: float | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw a metric against the round, one curve for each trial, and give the matplotlib axes.

    ``records`` is what :func:`frame` takes, or its table. ``metric`` is any tracked name. Rounds
    that lack it are left out of the curve. ``target`` and ``chance``, accuracies from 0 to 1, are
    drawn as a dotted and a dashed line. The curves go into ``axes``, or into a new figure.

    Raises BadInput where no trial has the metric, and for a target or a chance beside a metric that
    is no accuracy.
    """
    from matplotlib.ticker import MaxNLocator

    table = frame(records)
    if metric not in table.columns or table[metric].isna().all():
        known = [name for name in table.columns if name != TRIAL and table[name].notna().any()]
        allowed = f"allowed is one of {', '.join(known)}"
        raise BadInput.of("metric", metric, f"{allowed}{did_you_mean(metric, known)}")
    asked = (("target", target, ":"), ("chance", chance, "--"))
    levels = [(what, level, line) for what, level, line in asked if level is not None]
    if levels and "accuracy" not in metric:
        what, level, _ = levels[0]
        raise BadInput.of(what, level, f"is an accuracy, which {metric} is not; leave it out")
    if axes is None:
        import matplotlib.pyplot as pyplot

        _, axes = pyplot.subplots(layout="constrained")
    drawn = table[table[metric].notna()]
    trials = dict(list(drawn.groupby(TRIAL, sort=False))) if TRIAL in drawn else {None: drawn}
    for name, rounds in trials.items():
        label = None if name is None else str(name)
        marker = "." if len(rounds) == 1 else ""
        axes.plot(rounds.index, rounds[metric], label=label, marker=marker)
    ink = axes.xaxis.label.get_color()  # the caller's style may be a dark one
    for what, level, line in levels:
        axes.axhline(level, color=ink, alpha=0.7, linestyle=line, linewidth=1, label=what)
    axes.set(xlabel="round", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return axes


def _by_name(records: Records) -> dict[Any, list[Mapping[str, Any]]]:
    """Each trial's rounds by its name; None is the name of a trial that has none."""
    if isinstance(records, Mapping) and "round" in records:
        raise BadInput.of("records", None, f"this is one record; {_ALLOWED}")
    trials = dict(records) if isinstance(records, Mapping) else {None: records}
    if not trials:
        raise BadInput.of("records", None, "there is no trial in it")
    return {name: _rounds(name, given) for name, given in trials.items()}


def _rounds(name: object, given: object) -> list[Mapping[str, Any]]:
    where = "records" if name is None else f"records of {name!r}"
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise BadInput.of(where, None, f"{_ALLOWED}; this is of type {type(given).__name__}")
    rounds: list[Mapping[str, Any]] = []
    for record in given:
        if not isinstance(record, Mapping) or "round" not in record:
            kind = type(record).__name__
            raise BadInput.of(where, None, f"{_ALLOWED}; what is in it is of type {kind}")
        rounds.append(record)
    if not rounds:
        said = "there are none; an iterator can be read only once, so keep what it gave in a list"
        raise BadInput.of(where, None, said)
    return rounds
