"""What a shell is told when TAB is pressed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class
from support import call

from fedtune.commands.cli import cli
from fedtune.data.lookup import NAMES as DATASETS
from fedtune.models.short_names import NAMES as MODELS


@pytest.fixture
def tab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Give the words that bash is offered for the last one of a line."""
    monkeypatch.chdir(tmp_path)
    bash = get_completion_class("bash")(cli, {}, "fedtune", "_FEDTUNE_COMPLETE")

    def press(line: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        return bash.complete().split()

    return press


def plain(*words: str) -> list[str]:
    return [f"plain,{word}" for word in words]


def test_commands_options_and_words_of_settings_are_completed(tab) -> None:  # type: ignore[no-untyped-def]
    assert tab("fedtune s") == plain("sweep", "status", "sync")
    assert tab("fedtune run --lea") == plain("--learning-rate")
    assert tab("fedtune run --precision ") == plain("auto", "fp32", "bf16")
    assert tab("fedtune run --client-optimizer a") == plain("adamw")
    assert tab("fedtune run --drop-last ") == plain("true", "false")
    assert tab("fedtune run --train-examples ") == plain("all")
    assert tab("fedtune sweep smoke --set lea") == plain("learning_rate=")
    assert tab("fedtune completion ") == plain("bash", "zsh", "fish")
    assert tab("fedtune run --store tr") == ["dir,tr"]


def test_models_and_data_sets_are_completed_also_within_a_comma_list(
    tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    assert tab("fedtune run --model ") == plain(*MODELS)
    assert tab("fedtune init --dataset ") == plain(*DATASETS)
    assert tab("fedtune run --distill-dataset ") == plain(*DATASETS)
    assert tab("fedtune run --dataset = bb") == plain("bbc-news"), "as bash gives --dataset=bb"
    assert tab("fedtune run --dataset =") == plain(*DATASETS)
    both = plain("mini-bert,mini-albert", "mini-bert,mini-distilbert")
    assert tab("fedtune run --model mini-bert,m") == both
    assert tab("fedtune run --model ./m") == ["dir,./m"]
    assert tab("fedtune run --dataset ./d") == ["file,./d"]

    for path in ("homes/my-bert/config.json", "homes/my-news/train.csv"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("{}")
    monkeypatch.setenv("FEDTUNE_DATA", str(tmp_path / "homes"))
    assert tab("fedtune run --model my") == plain("my-bert")
    assert tab("fedtune run --dataset my") == plain("my-news")


def test_sweep_files_and_sweeps_are_completed(tab, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert tab("fedtune sweep sm") == plain("smoke")
    (tmp_path / "small.yaml").write_text("{}")
    assert tab("fedtune sweep sm") == plain("small.yaml", "smoke")
    assert tab("fedtune sweep elsewhere/") == ["file,elsewhere/"]

    for store in ("trials", "other"):
        (tmp_path / store / "sweeps").mkdir(parents=True)
        (tmp_path / store / "sweeps" / f"of-{store}.yaml").write_text("{}")
    for command in ("status", "sync", "report"):
        assert tab(f"fedtune {command} o") == plain("of-trials")
    assert tab("fedtune status --store other o") == plain("of-other")


@pytest.mark.parametrize(("shell", "file"), [("bash", ".bashrc"), ("zsh", ".zshrc"), ("fish", "")])
def test_the_script_of_a_shell_says_where_it_belongs(
    shell: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("completion", shell, folder=tmp_path)
    assert done.code == 0, done.everything
    assert f"_FEDTUNE_COMPLETE={shell}_complete" in done.out
    *_, where, line = done.out.splitlines()
    assert file in where
    assert f"fedtune completion {shell}" in line

    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert call("completion", folder=tmp_path).out == done.out


def test_a_shell_that_has_no_script_is_refused(tmp_path: Path) -> None:
    done = call("completion", "tcsh", folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == "fedtune: shell='tcsh': allowed is bash, zsh, fish\n"


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_bash_itself_completes_with_the_script(tmp_path: Path) -> None:
    start = "import sys; sys.argv[0] = 'fedtune'; from fedtune.commands.main import main; main()"
    program = tmp_path / "fedtune"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{start}" "$@"\n')
    program.chmod(0o755)
    script = """
        source <(fedtune completion bash)
        COMP_WORDS=(fedtune run --model mini-bert,m) COMP_CWORD=3
        _fedtune_completion fedtune
        echo "${COMPREPLY[@]}"
    """

    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )

    assert (done.stdout.split(), done.stderr) == (
        ["mini-bert,mini-albert", "mini-bert,mini-distilbert"],
        "",
    )
