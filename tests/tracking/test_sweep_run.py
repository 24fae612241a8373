"""The run of a sweep itself, of stores written for the purpose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Run, ViewType
from support import Done, call, new_database, points, sweep_run, toy_run, trial_runs

from fedtune.plan.plan import Plan
from fedtune.plan.plan_file import save_plan
from fedtune.run.launch import LaunchResult
from fedtune.tracking import names
from fedtune.tracking.by_clients import PREFIX
from fedtune.tracking.times import work_ms
from fedtune.tracking.views import is_untouched, view_key, view_tag
from fedtune.trial.folder import TrialFolder
from fedtune.trial.system import SAMPLE_MARKER

Write = Callable[..., None]

#: Accuracies of the trials of ``plan``: K = 1, 8 and 2.
ENDED = ([0.5, 0.7, 0.8], [0.5, 0.6, 0.6, 0.6, 0.6], [0.5, 0.65, 0.65, 0.75])


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    return MlflowClient(new_database(tmp_path))


@pytest.fixture
def ended(plan: Plan, write_log: Write) -> Plan:
    for trial, accuracies in zip(plan.trials, ENDED, strict=True):
        write_log(trial, accuracies)
    return plan


def launch(bert: str, clients: str, folder: Path, **settings: Any) -> Done:
    """Launch trials of ``plan``, all of which have ended."""
    values = {"name": "study", "budget_rounds": 2, "max_rounds": 4} | settings
    args = toy_run(bert, clients, **values)
    done = call(*args, "--store", ".", "--no-ray", folder=folder)
    assert done.code == 0, done.everything
    return done


def sync(folder: Path) -> None:
    done = call("sync", "--store", ".", folder=folder)
    assert done.code == 0, done.everything


def by_clients(client: MlflowClient) -> dict[str, list[tuple[int, float]]]:
    found = points(client, sweep_run(client, "study"))
    return {k.removeprefix(PREFIX): v for k, v in found.items() if k.startswith(PREFIX)}


def every(client: MlflowClient, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    found = client.get_experiment_by_name("fedtune")
    assert found is not None
    return list(client.search_runs([found.experiment_id], "", view))


def test_a_sweep_spans_its_axes_and_amounts_to_a_point_for_each_number_of_clients(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2,8", tmp_path)

    spans = {"model": "bert", "dataset": "toy", "clients": "1,2,8", "seed": "0"}
    assert sweep_run(client, "study").data.params == spans
    accuracy = [(1, 0.8), (2, 0.75), (8, 0.6)]
    assert by_clients(client) == {
        "final_accuracy_median": accuracy,
        "final_accuracy_best": accuracy,
        "rounds_to_target_median": [(1, 2), (2, 3)],
        "rounds_to_target_best": [(1, 2), (2, 3)],
    }


def test_launched_again_as_it_was_the_run_is_the_same_to_the_last_point(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2,8", tmp_path)
    before, kept = sweep_run(client, "study"), by_clients(client)

    launch(bert, "2,8", tmp_path)
    sync(tmp_path)

    after = sweep_run(client, "study")
    assert after.info.to_proto() == before.info.to_proto()
    assert after.data.params == before.data.params
    assert by_clients(client) == kept
    assert len(every(client, ViewType.ALL)) == 4


def test_where_a_sweep_has_grown_its_run_is_made_anew_with_all_trials_beneath_it(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2", tmp_path)
    old = sweep_run(client, "study")
    client.set_tag(old.info.run_id, "mine", "kept")
    client.log_text(old.info.run_id, "a page", "report/index.html")

    launch(bert, "8", tmp_path)

    new, runs = sweep_run(client, "study"), trial_runs(client, "study")
    assert new.data.params["clients"] == "1,2,8"
    assert new.data.tags["mine"] == "kept"
    (report,) = client.list_artifacts(new.info.run_id, "report")
    assert report.path == "report/index.html"
    assert {run.data.tags[names.PARENT] for run in runs.values()} == {new.info.run_id}
    assert client.get_run(old.info.run_id).info.lifecycle_stage == "deleted"
    assert len(every(client)) == 4
    assert by_clients(client)["final_accuracy_best"] == [(1, 0.8), (2, 0.75), (8, 0.6)]
    datasets = new.inputs.dataset_inputs
    assert [each.dataset.name for each in datasets] == ["toy"]


def own_run(client: MlflowClient, **tags: str) -> Run:
    """A run that a script of the user's, or `mlflow run`, has begun."""
    number = client.create_experiment("mine")
    shown = {key.replace("_", "."): value for key, value in tags.items()}
    own = client.create_run(number, run_name="my notes", tags=shown)
    client.log_param(own.info.run_id, "clients", "a word of mine")
    return client.get_run(own.info.run_id)


@pytest.mark.parametrize("tags", [{}, {"mlflow_source_type": "PROJECT"}], ids=["script", "project"])
def test_a_run_of_the_users_own_stays_as_it_is_and_has_every_sweep_beneath_it(
    ended: Plan,
    bert: str,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tags: dict[str, str],
) -> None:
    """As of a script that begins a run and calls `fedtune run`, or of a project that does."""
    own = own_run(client, **tags)
    monkeypatch.setenv("MLFLOW_RUN_ID", own.info.run_id)

    launch(bert, "2", tmp_path)
    launch(bert, "8", tmp_path)
    launch(bert, "8", tmp_path, name="other")

    assert client.get_run(own.info.run_id).to_dictionary() == own.to_dictionary()
    for sweep, spans in (("study", "1,2,8"), ("other", "1,8")):
        run = sweep_run(client, sweep, "mine")
        assert run.info.run_name == sweep
        assert run.info.status == "FINISHED"
        assert run.data.params["clients"] == spans
        assert run.data.tags[names.PARENT] == own.info.run_id
        trials = trial_runs(client, sweep, "mine").values()
        assert {t.data.tags[names.PARENT] for t in trials} == {run.info.run_id}

    # In the same shell the other commands look where the launches wrote.
    synced = call("sync", "--store", ".", folder=tmp_path)
    assert synced.code == 0, synced.everything
    assert synced.out.count(": 0 rounds added") == 2
    report = call("report", "study", "--out", "page", folder=tmp_path)
    assert report.code == 0, report.everything
    assert client.get_experiment_by_name("fedtune") is None


def test_the_run_that_mlflow_run_makes_for_fedtunes_project_is_the_sweeps(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not another sweep's too, where the variable outlives it."""
    own = own_run(client, mlflow_source_type="PROJECT")
    monkeypatch.setenv("MLFLOW_RUN_ID", own.info.run_id)
    for name in ("study", "other"):
        args = toy_run(bert, "2", name=name, budget_rounds=2, max_rounds=4)
        done = call(*args, "--store", ".", "--no-ray", "--of-project", folder=tmp_path)
        assert done.code == 0, done.everything

    run = sweep_run(client, "study", "mine")
    assert run.info.run_id == own.info.run_id
    assert run.info.run_name == "study"
    assert run.data.params["clients"] == "a word of mine"
    assert sweep_run(client, "other", "mine").data.tags[names.PARENT] == own.info.run_id


def test_a_run_that_an_earlier_version_took_for_the_sweeps_is_not_beneath_itself(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_run(client)
    for key, value in ((names.KIND, "sweep"), (names.SWEEP, "study")):
        client.set_tag(own.info.run_id, key, value)
    monkeypatch.setenv("MLFLOW_RUN_ID", own.info.run_id)

    launch(bert, "2", tmp_path)

    run = sweep_run(client, "study", "mine")
    assert run.info.run_id == own.info.run_id
    assert names.PARENT not in run.data.tags


def test_a_trial_that_went_on_changes_its_point_and_leaves_one(
    ended: Plan, bert: str, client: MlflowClient, write_log: Write, tmp_path: Path
) -> None:
    launch(bert, "2,8", tmp_path)
    write_log(ended.trials[1], [*ENDED[1], 0.9])

    launch(bert, "2,8", tmp_path, max_rounds=5)

    found = by_clients(client)
    assert found["final_accuracy_best"] == [(1, 0.8), (2, 0.75), (8, 0.9)]
    assert found["rounds_to_target_best"] == [(1, 2), (2, 3), (8, 5)]


def test_a_run_that_mlflow_run_made_stays(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2", tmp_path)
    own = sweep_run(client, "study")
    for key, value in ((names.SOURCE_TYPE, "PROJECT"), (names.SOURCE, "git@host:fedtune")):
        client.set_tag(own.info.run_id, key, value)

    launch(bert, "8", tmp_path)

    after = sweep_run(client, "study")
    assert after.info.run_id == own.info.run_id
    assert after.data.params == own.data.params, "what the project was given"
    assert after.data.tags[names.SOURCE] == "git@host:fedtune"
    assert by_clients(client)["final_accuracy_best"] == [(1, 0.8), (2, 0.75), (8, 0.6)]


def test_a_sweep_lasts_as_long_as_its_work_and_not_into_the_future(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2", tmp_path)
    launch(bert, "8", tmp_path)
    sync(tmp_path)

    run = sweep_run(client, "study")
    worked = work_ms(LaunchResult.of_store(tmp_path, ended).results)
    assert 2500 <= worked <= 6000, "from the longest of the trials to one after the other"
    assert run.info.end_time - run.info.start_time == worked
    assert run.info.end_time <= int(run.data.tags[names.LAUNCHED])


def test_pauses_between_trials_are_not_work(ended: Plan, tmp_path: Path) -> None:
    def moved(*begun_s: int) -> int:
        results = LaunchResult.of_store(tmp_path, ended).results
        moments = zip(results, begun_s, strict=True)
        return work_ms(replace(r, origin={"begun_ms": 1000 * second}) for r, second in moments)

    # They take 1.5, 2.5 and 2 s: half a second for each round, and for round 0.
    assert moved(100, 200, 300) == 6000
    assert moved(100, 101, 102) == 4000
    assert moved(102, 100, 100) == 1500 + 2500 - 500


def test_a_failed_trial_ends_with_its_last_round_however_often_it_is_synced(
    ended: Plan, client: MlflowClient, write_log: Write, tmp_path: Path
) -> None:
    _, eight, two = ended.trials
    write_log(eight, [0.5, 0.6])
    TrialFolder(tmp_path, two.trial_id).rounds_path.unlink()
    for trial in (eight, two):
        TrialFolder(tmp_path, trial.trial_id).note_failure("no luck")
    save_plan(ended, tmp_path)

    def ends() -> dict[int, int]:
        sync(tmp_path)
        runs: dict[int, Run] = trial_runs(client, "study")
        assert {runs[k].data.tags[names.OUTCOME] for k in (2, 8)} == {"failed"}
        return {k: run.info.end_time - run.info.start_time for k, run in runs.items()}

    assert ends() == {1: 1500, 8: 1000, 2: 0}
    assert ends() == {1: 1500, 8: 1000, 2: 0}


def test_the_data_is_an_input_of_every_run_once(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2,8", tmp_path)
    sync(tmp_path)

    for run in every(client):
        (data,) = run.inputs.dataset_inputs
        assert isinstance(data, DatasetInput)
        assert (data.dataset.name, data.dataset.source_type) == ("toy", "code")
        assert data.dataset.digest == ended.trials[0].dataset_hash[:12]
        profile = json.loads(data.dataset.profile)
        sizes = {"train_examples": 256, "test_examples": 128, "num_classes": 2}
        assert profile == sizes
        assert {tag.key: tag.value for tag in data.tags} == {"mlflow.data.context": "training"}


def test_samples_of_a_trials_process_are_system_metrics_each_once(
    ended: Plan, client: MlflowClient, tmp_path: Path
) -> None:
    baseline = ended.trials[0]
    path = TrialFolder(tmp_path, baseline.trial_id).samples
    lines = [json.dumps({"unix_ms": 1000 * n, SAMPLE_MARKER: 10.0 * n}) + "\n" for n in range(3)]
    save_plan(ended, tmp_path)
    for known in (2, 3, 3):  # the trial goes on, and is synced once more
        path.write_text("".join(lines[:known]))
        sync(tmp_path)
        run = trial_runs(client, "study")[1]
        found = client.get_metric_history(run.info.run_id, SAMPLE_MARKER)
        assert [(p.step, p.timestamp, p.value) for p in found] == [
            (n, 1000 * n, 10.0 * n) for n in range(known)
        ]


def test_runs_say_who_and_what_made_them_and_have_no_empty_tags(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    launch(bert, "2,8", tmp_path)
    sync(tmp_path)

    for run in every(client):
        tags = run.data.tags
        assert (tags[names.USER], tags[names.SOURCE]) == ("grace", "fedtune run")
        assert tags[names.SOURCE_TYPE] == "LOCAL"
        assert [key for key, value in tags.items() if not value] == []


def test_what_a_launch_does_not_tell_any_more_goes(
    ended: Plan, client: MlflowClient, tmp_path: Path
) -> None:
    source = {"sweep_file": "grid.yaml", "sweep_file_sha256": "0" * 64}
    save_plan(replace(ended, source=source), tmp_path)
    sync(tmp_path)
    assert sweep_run(client, "study").data.tags[names.SWEEP_FILE] == "grid.yaml"

    save_plan(ended, tmp_path)
    sync(tmp_path)

    tags = sweep_run(client, "study").data.tags
    assert {names.SWEEP_FILE, names.SWEEP_FILE_SHA256}.isdisjoint(tags)
    assert names.TRIALS in tags


def test_a_database_of_an_earlier_version_is_brought_up_to_date(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    """Then the parameters had local paths, the sweep's run had none, and tags could be empty."""
    experiment = client.create_experiment("fedtune")
    own = {names.KIND: "sweep", names.SWEEP: "study", names.SWEEP_FILE: "", names.PLANNED: ""}
    parent = client.create_run(experiment, run_name="study", tags=own)
    for trial in ended.trials:
        known = {names.SWEEP: "study", names.PARENT: parent.info.run_id} | names.tags(trial)
        run = client.create_run(experiment, run_name=names.run_name(trial), tags=known)
        for key, value in names.params(trial).items():
            client.log_param(run.info.run_id, key, value)
    save_plan(ended, tmp_path)

    sync(tmp_path)

    after = sweep_run(client, "study")
    assert after.info.run_id == parent.info.run_id
    assert after.data.params["clients"] == "1,2,8"
    assert names.SWEEP_FILE not in after.data.tags
    assert json.loads(after.data.tags[names.PLANNED])["model"] == ["bert"]
    assert {run.data.params["model"] for run in trial_runs(client, "study").values()} == {"bert"}


# The view that links open


def view(client: MlflowClient) -> dict[str, Any]:
    found = client.get_experiment_by_name("fedtune")
    assert found is not None
    told: dict[str, Any] = json.loads(found.tags[view_tag("study")])
    return told


def test_a_view_shows_the_trials_by_their_number_of_clients(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2,8", tmp_path)
    saved = view(client)
    assert saved["name"] == "study"
    experiment = client.get_experiment_by_name("fedtune")
    assert experiment is not None
    for clients, run in ((1000, 2), (128, 8)):  # as text, 1000 would come before 128
        known = trial_runs(client, "study")[run]
        client.log_metric(known.info.run_id, "summary/clients", clients, step=99)

    found = client.search_runs(
        [experiment.experiment_id],
        saved["searchFilter"],
        order_by=[f"{saved['orderByKey']} {'ASC' if saved['orderByAsc'] else 'DESC'}"],
    )

    assert [run.data.metrics["summary/clients"] for run in found] == [1, 128, 1000]


def test_a_view_that_somebody_has_saved_anew_is_theirs(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2", tmp_path)
    experiment = client.get_experiment_by_name("fedtune")
    assert experiment is not None
    mine = view(client) | {"orderByAsc": False}
    for changed, stays in ((mine, False), (mine | {"updatedAt": 1}, True)):
        text = json.dumps(changed)
        client.set_experiment_tag(experiment.experiment_id, view_tag("study"), text)
        launch(bert, "2", tmp_path)
        assert (view(client)["orderByAsc"] is False) == stays
    assert not is_untouched("what an earlier version of MLflow wrote")


def test_the_note_begins_with_the_table_and_leads_to_the_trials_wherever_mlflow_is(
    ended: Plan, bert: str, client: MlflowClient, tmp_path: Path
) -> None:
    launch(bert, "2,8", tmp_path)
    note = sweep_run(client, "study").data.tags[names.NOTE]
    assert note.startswith("| K |")
    assert "http" not in note
    assert f"](#/experiments/1/runs?viewStateShareKey={view_key('study')}&" in note
