"""The front door: how settings are given, and what each command prints and leaves behind."""

from __future__ import annotations

import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import (
    Done,
    assert_whole,
    call,
    command,
    in_process_of_its_own,
    log,
    new_database,
    options,
    toy_run,
    trial_configs,
)

from fedtune.config import FIELDS
from fedtune.sweep.sweepfile import check_name

HEAVY = (
    *("torch", "ray", "mlflow", "transformers", "datasets", "optuna", "numpy", "rich"),
    *("matplotlib", "jinja2"),
)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, fedtune.cli\n"
        "sys.argv = ['fedtune', '--help']\n"
        "try:\n    fedtune.cli.main()\n"
        f"finally:\n    print([name for name in {HEAVY} if name in sys.modules])\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "  doctor " in done.stdout


def test_a_launch_waits_for_neither_ray_nor_mlflow_to_be_imported() -> None:
    """Ray is imported where it is used, MLflow on the writer's thread."""
    late = ("ray", "mlflow", "pandas", "datasets", "matplotlib")
    script = f"import sys, fedtune.sweep.session; print({{*{late}}} & {{*sys.modules}} or 'none')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "none", done.stderr


def test_every_field_is_an_option_of_run_and_of_sweep() -> None:
    for name in ("run", "sweep"):
        text = call(name, "--help", folder=Path()).out
        for field in FIELDS:
            assert f"--{field.replace('_', '-')}" in text
            assert f"--{field}" in text


def test_help_names_what_an_option_takes() -> None:
    text = call("run", "--help", folder=Path()).out
    for option, takes in (
        ("drop_last", "true|false"),
        ("text_column", "TEXT"),
        ("shuffle", "every_epoch|once"),
        ("device", "auto|cpu|cuda|cuda:N"),
        ("learning_rate", "NUMBER"),
        ("budget_rounds", "NUMBER"),
    ):
        assert f"--{option} {takes}" in text


def test_the_name_of_a_shipped_sweep_file_is_enough(tmp_path: Path) -> None:
    done = call("sweep", "smoke", "--clients", "many", folder=tmp_path)

    assert done.code == 2, done.everything
    assert "clients='many'" in done.err
    assert "no such file" not in done.everything


def test_python_m_fedtune_is_the_same_program(tmp_path: Path) -> None:
    done = in_process_of_its_own("--version", folder=tmp_path)
    assert (done.code, done.out.split()[0]) == (0, "fedtune,")


# How settings are given: read back from the plan that a dry run would make.


@pytest.fixture
def launch_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Give the sweep and the options that a command line means, instead of running them."""
    import fedtune.sweep.session as session

    seen: list[Any] = []
    monkeypatch.setattr(session, "run_sweep", lambda *launch: seen.append(launch[:2]) or 0)

    def of(*args: str) -> Any:
        done = call(*args, folder=tmp_path)
        assert done.code == 0, done.everything
        return seen.pop()

    return of


@pytest.fixture
def planned(launch_of: Callable[..., Any]) -> object:
    """Give the configurations that a command line means, instead of running them."""
    return lambda *args: [config.model_dump() for config in launch_of(*args)[0].configs()]


@pytest.mark.parametrize(
    "given",
    [
        ["--learning-rate", "0.5"],
        ["--learning_rate", "0.5"],
        ["--learning_rate=0.5"],
        ["--set", "learning_rate=0.5"],
        ["--set", "learning-rate = 0.5"],
        ["--set", "", "--set", "learning_rate=5e-1"],
    ],
)
def test_a_setting_can_be_given_in_every_spelling(planned, given: list[str]) -> None:  # type: ignore[no-untyped-def]
    base = ["run", "--model", "m", "--dataset", "toy", "--clients", "2"]
    (config,) = planned(*base, *given)
    assert config["learning_rate"] == 0.5


def test_comma_lists_make_a_grid(planned) -> None:  # type: ignore[no-untyped-def]
    configs = planned(
        "run", "--model", "a,b", "--dataset", "toy", "--clients", "1, 8,8", "--seed", "0,3"
    )
    places = {(c["model"], c["clients"], c["seed"]) for c in configs}
    assert places == {(m, k, s) for m in "ab" for k in (1, 8) for s in (0, 3)}
    assert len(configs) == 8


def test_words_and_truth_values_are_read_as_such(planned) -> None:  # type: ignore[no-untyped-def]
    base = ["run", "--model", "m", "--dataset", "toy", "--clients", "2"]
    (config,) = planned(*base, "--drop-last", "true", "--train-examples", "all", "--stop", "target")
    assert (config["drop_last"], config["train_examples"]) == (True, "all")


def test_the_command_line_beats_a_sweep_file(planned, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "grid.yaml").write_text(
        "axes: {model: [m], dataset: [toy], clients: [2, 4]}\nset: {momentum: 0.5, seed: 7}\n"
    )
    configs = planned("sweep", "grid.yaml", "--set", "momentum=0.25", "--clients", "8")
    assert [(c["clients"], c["momentum"], c["seed"]) for c in configs] == [(8, 0.25, 7)]


# The names that sweeps are given


@pytest.fixture
def named(launch_of: Callable[..., Any]) -> Callable[..., str]:
    """Give the name of the sweep that a `fedtune run` with these settings makes."""

    def of(model: object, dataset: object = "toy", **settings: object) -> str:
        given = {"model": model, "dataset": dataset, "clients": 2, **settings}
        name = str(launch_of("run", *options(**given))[0].name)
        assert check_name(name) == name
        return name

    return of


def test_a_name_says_what_is_compared(named: Callable[..., str]) -> None:
    assert named("mini-bert", "bbc-news") == "mini-bert-bbc-news"
    assert named("mini-bert,mini-albert") == "mini-bert+mini-albert-toy"
    assert named("m", clients="2,4", seed="0,1", budget_rounds=3, threads=1) == "m-toy"
    assert named("m", learning_rate=0.05, momentum=0.9) == "m-toy-learning_rate-0.05-momentum-0.9"


def test_sweeps_that_differ_have_names_that_differ_however_long(
    named: Callable[..., str],
) -> None:
    models = "mini-bert,mini-albert,mini-distilbert,bert,albert,distilbert"
    names = {named(models, "imdb,yelp", learning_rate=rate) for rate in (0.05, 0.025)}
    assert len(names) == 2
    assert {len(name) for name in names} == {80}
    (start,) = {name[:-8] for name in names}
    assert f"{models.replace(',', '+')}-imdb+yelp-learning_rate-".startswith(start[:-1])
    assert names == {named(models, "imdb,yelp", learning_rate=r) for r in ("0.050", "2.5e-2")}


def test_a_name_begins_with_a_letter_or_a_digit(named: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "_m").mkdir()
    names = {named("_m"), named("m"), named("./_m"), named("-+_.")}
    assert len(names) == 4, "what is left out is told by the digits"


def test_two_folders_of_one_name_are_two_sweeps(
    named: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parent in ("one", "two"):
        (tmp_path / parent / "texts").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))

    first, second = named("m", "one/texts"), named("m", "two/texts")
    assert first != second
    assert {first[:-8], second[:-8]} == {"m-texts-"}
    for same in ("./one/texts", "two/../one/texts/", tmp_path / "one" / "texts", "~/one/texts"):
        assert named("m", same) == first
    hub_ids = {named("google-bert/bert-base-cased"), named("someone/bert-base-cased")}
    assert len(hub_ids) == 2
    assert {name[:-8] for name in hub_ids} == {"bert-base-cased-toy-"}


# The end of a launch that was told to end


@pytest.fixture
def handler() -> Iterator[None]:
    """Put back who handles SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("handler")
@pytest.mark.parametrize("where", ["--no-ray", "Ray waits", "Ray's handler"])
def test_a_launch_that_is_terminated_says_how_to_go_on(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import fedtune.sweep.session as session

    def run_sweep(*_: object) -> None:
        if where == "Ray's handler":  # as ray.init sets it
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            if where == "Ray waits":  # as ray.wait ends
                sys.exit(1)
            raise

    monkeypatch.setattr(session, "run_sweep", run_sweep)
    args = ["run", *options(model="a model", dataset="toy", clients=2)]

    done = call(*args, folder=tmp_path)

    assert done.code == 143, done.everything
    assert "the same command goes on" in done.out
    assert shlex.split(done.out.splitlines()[-1]) == ["fedtune", *args]


def test_another_exit_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import fedtune.sweep.session as session

    monkeypatch.setattr(session, "run_sweep", lambda *_: sys.exit(7))
    done = call("run", *options(model="m", dataset="toy", clients=2), folder=tmp_path)
    assert (done.code, done.out) == (7, "")


# Commands that start nothing


def test_a_dry_run_prints_trials_and_costs_and_writes_nothing(bert: str, tmp_path: Path) -> None:
    done = call(*toy_run(bert, "4,8"), "--dry-run", folder=tmp_path)

    assert done.code == 0, done.everything
    for name in ("K001 bert toy s0", "K004 bert toy s0", "K008 bert toy s0"):
        assert done.out.count(name) == 1
    assert "≤ 96" in done.out  # 6 rounds of 2 x 64 / 8 steps
    assert "Nothing was started" in done.out
    assert list(tmp_path.iterdir()) == []


def test_list_names_what_can_be_named(tmp_path: Path) -> None:
    done = call("list", folder=tmp_path)

    assert done.code == 0, done.everything
    for name in ("mini-bert", "distilbert", "bbc-news", "toy", "iid", "fedavg", "│ smoke "):
        assert name in done.out
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_what_there_is_and_what_would_mend_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("doctor", folder=tmp_path)

    assert done.code == 0, done.everything
    for piece in ("torch", "device=auto is", "precision=auto is", "data set toy: ships"):
        assert piece in done.out
    assert "Nothing that fedtune needs is missing." in done.out

    monkeypatch.setenv("FEDTUNE_DATA", str(tmp_path / "nowhere"))
    done = call("doctor", folder=tmp_path)
    assert done.code == 1, done.everything
    assert "nowhere is no directory" in done.out
    assert "unset FEDTUNE_DATA" in done.out


# After a launch


@pytest.fixture(scope="module")
def launched(bert: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which K = 1 and 4 were launched without Ray."""
    folder = tmp_path_factory.mktemp("launched")
    new_database(folder)
    done = call(*toy_run(bert), "--no-ray", folder=folder)
    assert done.code == 0, done.everything
    return folder


def test_status_shows_where_the_trials_of_a_sweep_stand(launched: Path) -> None:
    for args in (["status"], ["status", "bert-toy"]):
        done = call(*args, folder=launched)
        assert done.code == 0, done.everything
        assert "2 of 2 trials are complete" in done.out
        assert "│ reached" in done.out
        assert "│ baseline" in done.out


def test_a_store_in_the_home_is_found_by_every_command(
    launched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedtune.experiments import archive

    monkeypatch.setenv("HOME", str(launched))
    uri = new_database(tmp_path)
    for args in (["status"], ["sync", "--tracking-uri", uri]):
        done = call(*args, "--store=~/trials", folder=tmp_path)
        assert done.code == 0, done.everything
    packed = ["archive", "--store=~/trials", "--out=~/packed.tar.gz"]
    monkeypatch.setattr(sys, "argv", packed)
    archive.main()
    assert (launched / "packed.tar.gz").is_file()
    assert not (tmp_path / "~").exists()


def test_a_home_that_nobody_has_is_refused_without_a_traceback(tmp_path: Path) -> None:
    done = call("status", "--store=~nobody-at-all/trials", folder=tmp_path)
    assert (done.code, done.out) == (2, ""), done.everything
    where = ["--model", "~nobody-at-all/m", "--dataset", "~nobody-at-all/d", "--clients", "2"]
    done = call("run", *where, "--no-ray", folder=tmp_path)
    assert done.code == 2, done.everything
    assert [line.split(":")[1] for line in done.err.splitlines()] == [
        " model='~nobody-at-all/m'",
        " dataset='~nobody-at-all/d'",
    ]


def test_status_and_sync_need_the_store_only(launched: Path, tmp_path: Path) -> None:
    uri = new_database(tmp_path)
    store = ["--store", str(launched / "trials")]

    status = call("status", *store, folder=tmp_path)
    synced = call("sync", "bert-toy", *store, "--tracking-uri", uri, folder=tmp_path)

    assert (status.code, synced.code) == (0, 0), synced.everything
    from mlflow import MlflowClient

    assert_whole(MlflowClient(uri), "bert-toy", launched / "trials")


def test_a_finished_launch_that_is_launched_again_starts_nothing(launched: Path, bert: str) -> None:
    done = in_process_of_its_own(*toy_run(bert), folder=launched)  # with Ray, were it needed

    assert done.code == 0, done.everything
    assert "nothing to run" in done.out
    assert "│ reached" in done.out
    assert "Starting Ray" not in done.out


def test_what_auto_became_is_stored_with_the_trial(launched: Path, bert: str) -> None:
    for clients, config in trial_configs(launched / "trials").items():
        assert config["clients"] == clients
        assert config["device"] in ("cpu", "cuda")
        assert config["precision"] in ("fp32", "bf16")
        assert (config["budget_rounds"], config["max_rounds"]) == (3, 6)
        assert config["text_column"] == "text"
        assert config["model"] == bert
        kept = {path.name for path in (launched / "trials" / config["trial_id"]).iterdir()}
        assert {"config.yaml", "partition.json", "rounds.jsonl", "checkpoint"} <= kept
        whole = launched / "trials" / config["trial_id"] / "checkpoint"
        assert {"config.json", "model.safetensors", "state.json"} <= {
            path.name for path in whole.iterdir()
        }
    plan = yaml.safe_load((launched / "trials" / "sweeps" / "bert-toy.yaml").read_text())
    assert [trial["clients"] for trial in plan["trials"]] == [1, 4]


# What reaches a pipe and a terminal, from a process of its own with a new database

SHORT = {"budget_rounds": 1, "max_rounds": 2, "local_epochs": 1}
NOISE = ("Traceback", "INFO", "WARNING", "(pid=", "(raylet)", "it/s", "Trial status", "alembic")


def test_a_pipe_gets_plain_lines_only(bert: str, tmp_path: Path) -> None:
    done = in_process_of_its_own(*toy_run(bert, **SHORT), "--no-ray", folder=tmp_path)

    assert done.code == 0, done.everything
    assert done.err == ""
    assert "\x1b" not in done.out
    assert "K001 bert toy s0: round 1/1, accuracy" in done.out
    assert not [noise for noise in NOISE if noise in done.out]


def on_a_terminal(args: list[str], folder: Path) -> Done:
    """Run a command with a pseudo-terminal as its output, 120 columns wide."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        command(*args), cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 180
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side has been closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    return Done(process.wait(30), seen.decode(), "")


def test_a_terminal_gets_a_live_table_and_no_noise(bert: str, tmp_path: Path) -> None:
    done = on_a_terminal(toy_run(bert, **SHORT), tmp_path)

    assert done.code == 0, done.out
    assert "time left" in done.out  # a column that only the live table has
    assert "waits for its baseline" in done.out
    assert "\x1b[" in done.out
    assert "│ baseline" in done.out
    assert not [noise for noise in NOISE if noise in done.out]


# Tokens


def test_tokens_can_be_trained_on_where_datasets_is_missing(bert: str, tmp_path: Path) -> None:
    args = ["--model", bert, "--dataset", "toy", "--max-length", "32"]
    made = call("tokens", *args, "--out", "made", folder=tmp_path)
    assert made.code == 0, made.everything
    assert "--max-length 32" in made.out
    new_database(tmp_path)
    script = (
        "import sys\n"
        "sys.modules['datasets'] = None  # importing it fails, as where it is not installed\n"
        "import fedtune.cli\n"
        "fedtune.cli.main()\n"
    )
    run = [*toy_run(bert, "1", dataset=tmp_path / "made", **SHORT), "--no-ray"]

    done = subprocess.run(
        [sys.executable, "-c", script, *run],
        cwd=tmp_path,
        env={**os.environ, "FEDTUNE_CACHE": str(tmp_path / "empty")},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = trial_configs(tmp_path / "trials").values()
    from_tokens = log(tmp_path / "trials" / trial["trial_id"])
    call(*toy_run(bert, "1", **SHORT), "--no-ray", "--store", "texts", folder=tmp_path)
    (trial,) = trial_configs(tmp_path / "texts").values()
    assert from_tokens == log(tmp_path / "texts" / trial["trial_id"])
