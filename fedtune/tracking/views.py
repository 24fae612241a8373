"""How MLflow's pages show a sweep: a saved view with the charts that matter first, and colours.

A saved view is a tag of the experiment. Its name is in the menu "Views", and a link that names its
key opens it. What it says follows the state that MLflow's own pages save (3.16 and later); from the
keys beside that, earlier versions read all but the order of the charts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Iterable
from typing import Any

from fedtune.config import TrialConfig
from fedtune.tracking import names
from fedtune.tracking.called import Called

#: Those that a sweep has not, MLflow leaves out.
_LEARNING = ("test/accuracy", "test/loss", "train/loss", "validation/accuracy", "validation/loss")
_RESULTS = ("summary/final_accuracy", "summary/rounds_to_target", "summary/steps_to_target")

#: The sections after these two, which MLflow fills by what metrics are called.
_OPEN = ("clients", "stages", "server", "test", "steps", "comm", "time", "throughput")
_FOLDED = ("summary", "data", "model")

#: Pixels, for names such as summary/rounds_to_target.
_COLUMN_WIDTH = 165

#: Colours of Okabe and Ito, which colour-blind readers tell apart: one for each model.
_COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (138, 109, 0))


def view_key(sweep: str) -> str:
    """What a link calls the view of a sweep."""
    return hashlib.sha256(sweep.encode()).hexdigest()[:8]


def view_tag(sweep: str) -> str:
    """The experiment's tag that holds the view."""
    return f"mlflow.sharedViewState.{view_key(sweep)}"


def saved_view(sweep: str, axes: Iterable[str], created_ms: int) -> str:
    """The view of a sweep's trials: by number of clients, every curve drawn, accuracy first.

    MLflow draws top-level runs only, and trials are nested: hence the filter that leaves the
    sweep's run out, and an order other than by creation, under which nothing is nested.
    """
    columns = _columns(axes)
    plain = {
        "searchFilter": f"tags.`{names.SWEEP}` = '{sweep}' and tags.`{names.KIND}` != 'sweep'",
        "orderByKey": "metrics.`summary/clients`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, _COLUMN_WIDTH),
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }
    charts = [_line(metric) for metric in _LEARNING] + [_bar(metric) for metric in _RESULTS]
    sections = [_section("learning"), _section("results")]
    sections += [_section(name) for name in _OPEN]
    sections += [_section(name, display=False) for name in _FOLDED]
    state = plain | {"compareRunCharts": charts, "compareRunSections": sections}
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    view = {
        "name": sweep,
        "createdAt": created_ms,
        "updatedAt": created_ms,
        "state": f"deflate;{packed}",
    }
    return json.dumps(plain | view, separators=(",", ":"))


def is_untouched(view: str) -> bool:
    """Has nobody saved this view anew in MLflow's pages?"""
    try:
        told = json.loads(view)
        return bool(told["createdAt"] == told["updatedAt"])
    except (ValueError, KeyError, TypeError):
        return False


def colour(config: TrialConfig, known: Called) -> str:
    """Of a trial's curve: a hue for each model, dark for one client and lighter for more.

    MLflow draws colours by lot, so that two of sixteen curves are often of one colour.
    """
    models = sorted({name for (field, _), name in known.items() if field == "model"})
    place = models.index(config.model) if config.model in models else 0
    share = min(math.log2(config.num_clients) / 7, 1.0)  # of the way to 128 clients
    black, white = 0.45 * (1 - share), 0.55 * share
    parts = (
        round(part * (1 - black - white) + 255 * white) for part in _COLOURS[place % len(_COLOURS)]
    )
    return "#" + "".join(f"{part:02x}" for part in parts)


def _columns(axes: Iterable[str]) -> list[str]:
    """What the table of runs shows beside their names, which have model, data, K and seed."""
    others = [axis for axis in axes if axis not in ("model", "dataset", "clients", "seed")]
    accuracy, rounds, steps = (f"metrics.`{metric}`" for metric in _RESULTS)
    swept = (f"params.`{axis}`" for axis in others)
    return [*swept, accuracy, rounds, f"tags.`{names.OUTCOME}`", steps]


def _section(name: str, *, display: bool = True) -> dict[str, Any]:
    return {
        "uuid": f"fedtune-{name}",
        "name": name,
        "display": display,
        "columns": 2,  # with three, MLflow cuts the names of metrics
        "isReordered": True,  # else MLflow sorts what it adds by name
        "deleted": False,
        "isGenerated": False,
    }


def _line(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": f"fedtune-{metric}",
        "metricSectionId": "fedtune-learning",
        "metricKey": metric,
        "displayName": metric,
        "deleted": False,
        "isGenerated": True,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _bar(metric: str) -> dict[str, Any]:
    """A number for each run: MLflow would draw a line of one point, since the step is not 0."""
    return {
        "type": "BAR",
        "uuid": f"fedtune-{metric}",
        "metricSectionId": "fedtune-results",
        "metricKey": metric,
        "displayName": metric.partition("/")[2].replace("_", " "),
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
    }
