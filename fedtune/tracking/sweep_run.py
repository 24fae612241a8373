"""The run of a sweep itself: what it spans, what it amounts to, and the way to its trials.

MLflow takes no parameter and no point back. Where a sweep has grown, so that its axes are others,
its run is made anew and the trials' runs go beneath the new one; the old one is deleted, from
where MLflow can restore it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag, ViewType

from fedtune.provenance import git_commit
from fedtune.tracking import names
from fedtune.tracking.by_clients import PREFIX, Points, points_by_clients
from fedtune.tracking.called import Called
from fedtune.tracking.claims import one_of
from fedtune.tracking.times import work_ms
from fedtune.tracking.views import is_untouched, saved_view, view_key, view_tag
from fedtune.trial.results import Result
from fedtune.trial.round_log import DamagedFolder


@dataclass(frozen=True)
class Told:
    """What MLflow is told of a sweep: name, axes and tags, the values of its axes as parameters,
    what its models and data sets are called, and how its trials stand.
    """

    sweep: str
    axes: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    called: Called = field(default_factory=dict)
    results: Callable[[], Sequence[Result]] = tuple


class SweepRun:
    """One sweep's run. Of the run that the environment may have ``given``, it is that one where
    `mlflow run` made it ``of_project`` (then it is never made anew), else one beneath it.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        told: Told,
        given: Run | None = None,
        *,
        of_project: bool = False,
    ):
        self._client, self._experiment_id, self.told = client, experiment_id, told
        self._inherited = given if given and of_project and _is_for(told.sweep, given) else None
        self._above = given.info.run_id if given and not self._inherited else None
        self._datasets: set[tuple[str, str]] = set()
        self.run_id = ""

    def open(self) -> str:
        """Find or make the run and return its id.

        It is the inherited one; else the newest one of this sweep is opened again, so that
        launching again to resume does not add another.
        """
        run = self._inherited or self._find()
        if run is None:
            made = self._create({})
            run = self._find() or made  # which is another where two launches began at once
        self.run_id = run.info.run_id
        if self._has_other_params(run):
            self._renew(run)
        else:
            self._describe(run)
        if self._inherited:
            self._client.update_run(self.run_id, name=self.told.sweep)  # MLflow draws one by lot
        else:
            self._client.update_run(self.run_id, status="RUNNING")
        if self._above not in (None, self.run_id):  # (an earlier version took the user's own run)
            self._client.set_tag(self.run_id, names.PARENT, self._above)
        self._save_view()
        return self.run_id

    def close(self, status: str, table: str, csv: str) -> None:
        """Add what the sweep amounts to, the closing table as note and artifacts, and end the run.

        It ends when its work did, however often it is looked at.
        """
        results = self._results()
        points = points_by_clients(results, self.told.axes, self.told.called)
        run = self._current()
        known, doubled = self._known_points(run)
        # MLflow would keep both values of a step. A point that is missing now is kept as it was:
        # seeds were added, and the launch was interrupted.
        outdated = doubled or any(points.get(key, value) != value for key, value in known.items())
        if self._has_other_params(run) or (outdated and self._may_renew(run)):
            self._renew(run)
            known = {}
        else:
            self._describe(run)
        now = round(1000 * time.time())
        fresh = {key: value for key, value in points.items() if known.get(key) != value}
        metrics = [Metric(key, value, now, clients) for (key, clients), value in fresh.items()]
        for start in range(0, len(metrics), names.LARGEST_BATCH):
            some = metrics[start : start + names.LARGEST_BATCH]
            self._client.log_batch(self.run_id, metrics=some)
        if table:
            self._client.set_tag(self.run_id, names.NOTE, self._note(table))
        if not self._inherited:  # else `mlflow run` ends it
            started = self._client.get_run(self.run_id).info.start_time
            ended = started + work_ms(results) if results else None
            self._client.set_terminated(self.run_id, status, ended)
        if table:
            self._client.log_text(self.run_id, table + "\n", "table.md")
            self._client.log_text(self.run_id, csv, "table.csv")

    def search(self, condition: str) -> list[Run]:
        """The runs that belong to the sweep and meet ``condition``, the newest first."""
        wanted = f"tags.`{names.SWEEP}` = '{self.told.sweep}' and {condition}"
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id],
                wanted,
                ViewType.ACTIVE_ONLY,
                max_results=1000,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def add_dataset(self, data: DatasetInput) -> None:
        """Add a data set of one of the trials, unless the run has it."""
        key = (data.dataset.name, data.dataset.digest)
        if key not in self._datasets:
            self._client.log_inputs(self._current().info.run_id, datasets=[data])
            self._datasets.add(key)

    def pages(self) -> dict[str, str]:
        """Where the trials are side by side: what is shown, and the page within MLflow's."""
        key = view_key(self.told.sweep)
        return {
            "charts": names.view_page(self._experiment_id, key, charts=True),
            "table": names.view_page(self._experiment_id, key, charts=False),
        }

    def _results(self) -> Sequence[Result]:
        """How the trials stand; nothing where a folder is damaged, of which the launch tells."""
        try:
            return self.told.results()
        except DamagedFolder:
            return ()

    def _find(self) -> Run | None:
        """The newest run of the sweep. Of several that launches made at once, one stays."""
        runs = self.search(f"tags.`{names.KIND}` = 'sweep'")
        if not runs:
            return None
        twins = [run for run in runs if run.data.tags.get(names.OWN) == "true"]
        if runs[0] not in twins or len(twins) == 1:
            return runs[0]
        kept = one_of(twins)
        self.run_id = kept.info.run_id
        self._adopt()
        for run in twins:
            if run is not kept:
                self._client.delete_run(run.info.run_id)
        return kept

    def _current(self) -> Run:
        """The run as it is now; another, where a launch beside this one has made it anew."""
        run = self._client.get_run(self.run_id)
        if run.info.lifecycle_stage == "deleted":
            run = self._client.get_run(self.open())
            self._adopt()
        return run

    def _adopt(self) -> None:
        """Have all trials' runs beneath the sweep's."""
        for child in self.search(f"tags.`{names.KIND}` != 'sweep'"):
            if child.data.tags.get(names.PARENT) != self.run_id:
                self._client.set_tag(child.info.run_id, names.PARENT, self.run_id)

    def _create(self, tags: Mapping[str, str]) -> Run:
        """A run that begins with the launch, or before it as long as was worked already: it is to
        last as long as its work, and not into the future.
        """
        launched = self.told.tags.get(names.LAUNCHED) or 1000 * time.time()
        started = round(float(launched)) - work_ms(self._results())
        own = {names.KIND: "sweep", names.SWEEP: self.told.sweep, names.OWN: "true"}
        named = {names.RUN_NAME: self.told.sweep} | dict(tags)
        return self._client.create_run(self._experiment_id, started, tags=named | own)

    def _has_other_params(self, run: Run) -> bool:
        """Has this run, which is fedtune's own, parameters that are not the sweep's any more?

        One more axis is a difference too: the points by K have other names then.
        """
        params, known = self.told.params, run.data.params
        return bool(params and known and params != known) and self._may_renew(run)

    def _may_renew(self, run: Run) -> bool:
        """Is the run fedtune's own? One that `mlflow run` or a script of the user's made is not."""
        return not _is_project(run) and run.info.run_id != self._above

    def _renew(self, old: Run) -> None:
        """Make the run anew, with the old one's tags and artifacts and the trials' runs beneath it.

        MLflow changes no parameter: else a sweep that grew would show the axes it began with.
        """
        run = self._create(old.data.tags)
        self.run_id = run.info.run_id
        with tempfile.TemporaryDirectory() as folder:
            if self._client.list_artifacts(old.info.run_id):
                artifacts = self._client.download_artifacts(old.info.run_id, "", folder)
                self._client.log_artifacts(self.run_id, artifacts)
        self._adopt()
        self._client.delete_run(old.info.run_id)
        self._describe(run)
        if old.inputs and old.inputs.dataset_inputs:
            self._client.log_inputs(self.run_id, datasets=old.inputs.dataset_inputs)

    def _describe(self, run: Run) -> None:
        """Tell what is known, and take back what an earlier launch told and this one does not."""
        run_id, known = run.info.run_id, run.data.tags
        commit = git_commit()
        tags = {
            **names.shown_tags(commit, known),
            **self.told.tags,
            names.KIND: "sweep",
            names.SWEEP: self.told.sweep,
            names.GIT_COMMIT: commit,
        }
        for key in names.OPTIONAL:
            if key in known and key not in tags:
                self._client.delete_tag(run_id, key)
        params = [Param(k, v) for k, v in self.told.params.items() if k not in run.data.params]
        self._client.log_batch(run_id, params=params, tags=[RunTag(k, v) for k, v in tags.items()])
        inputs = run.inputs.dataset_inputs if run.inputs else []
        self._datasets = {(each.dataset.name, each.dataset.digest) for each in inputs}

    def _save_view(self) -> None:
        """Keep the view that links open, unless somebody has saved another in its place."""
        sweep, axes = self.told.sweep, self.told.axes
        key = view_tag(sweep)
        known = self._client.get_experiment(self._experiment_id).tags.get(key)
        if known is None or is_untouched(known):
            view = saved_view(sweep, axes, round(1000 * time.time()))
            self._client.set_experiment_tag(self._experiment_id, key, view)

    def _known_points(self, run: Run) -> tuple[Points, bool]:
        """The points by K that the run has, and whether one of them is there twice."""
        history = [
            point
            for key in run.data.metrics
            if key.startswith(PREFIX)
            for point in self._client.get_metric_history(run.info.run_id, key)
        ]
        known = {(point.key, point.step): point.value for point in history}
        return known, len(known) < len(history)

    def _note(self, table: str) -> str:
        links = " · ".join(f"[{what}]({page})" for what, page in self.pages().items())
        told = f"\n\nTrials side by side: {links}. In the metrics of this run the step is K.\n"
        fits = len(table) + len(told) <= names.LONGEST_TAG
        return (table if fits else "The closing table is among the artifacts: `table.md`.") + told


def _is_project(run: Run) -> bool:
    """Has ``mlflow run`` made it, with parameters of its own?"""
    return bool(run.data.tags.get(names.SOURCE_TYPE) == "PROJECT")


def _is_for(sweep: str, run: Run) -> bool:
    """Was the run made for this sweep, and not for another one before it?"""
    return _is_project(run) and run.data.tags.get(names.SWEEP, sweep) == sweep
